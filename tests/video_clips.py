"""Folders in the layout of DAVIS, made of the bundled clips."""

from pathlib import Path

import cv2
import numpy as np
from bundled import DAVIS

from dino_plugin.data.images.label_masks import read_mask, write_mask

NAMES = ('blackswan', 'car-shadow', 'libby')


def small_clips(root: Path, names=NAMES, frames: int = 5, columns: int = 214, masks: int | None = None) -> Path:
    """The first frames of bundled clips, reduced, with the swan's neck as an object of its own.

    Args:
        root: Gets ``JPEGImages`` and ``Annotations``.
        names: Of the clips.
        frames: Of each clip.
        columns: Of an image; 854 x 480 pixels shrink in proportion.
        masks: Of each clip, from the first on; all if None.
    """
    size = (columns, columns * 480 // 854)
    for name in names:
        for kind in ('JPEGImages', 'Annotations'):
            (root / kind / '480p' / name).mkdir(parents=True)
        for index, path in enumerate(sorted((DAVIS / 'JPEGImages/480p' / name).iterdir())[:frames]):
            image = cv2.resize(cv2.imread(str(path)), size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(root / 'JPEGImages/480p' / name / path.name), image)
            if masks is None or index < masks:
                mask = read_mask(DAVIS / 'Annotations/480p' / name / f'{path.stem}.png')
                write_mask(reduced(mask, size), mask_path(root, name, path.stem))
    return root


def reduced(mask, size):
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    return np.where((mask == 1) & (np.arange(size[0]) >= size[0] // 2), 2, mask).astype(np.uint8)


def mask_path(root: Path, clip: str, frame: str) -> Path:
    return root / 'Annotations/480p' / clip / f'{frame}.png'
