"""Real images in folders of a test's own, and steps of a pipeline that loads them."""

import errno
import os
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from bundled import CIFAR

from dino_plugin.data.images.decoding import decode_image

PICTURES = sorted(CIFAR.glob('*/*.jpg'))


def load(results: dict) -> dict:
    results['img'] = decode_image(Path(results['img_path']).read_bytes())
    return results


def add_noise(results: dict) -> dict:
    """Draws from all three generators, as a pipeline of ours, mmcv's and torchvision's transforms may."""
    results['noise'] = (random.random(), np.random.rand(), torch.rand(()).item())
    return results


def forbid(monkeypatch, folder: Path) -> None:
    """Nobody may list this folder, not even root, whom permissions do not stop."""
    allowed = os.scandir

    def scandir(path='.'):
        if not isinstance(path, int) and Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return allowed(path)

    monkeypatch.setattr(os, 'scandir', scandir)


def copy_images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PICTURES[number], folder / name)
    return folder
