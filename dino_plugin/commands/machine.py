"""What the recipe `auto` looks at: the images, by their names and a few headers, and the machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

import torch

from dino_plugin.data.images.decoding import UndecodableImageError, check_header
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.views.split_of_work import num_cores

HEADERS = 200  # so many files are opened, of however many
_PROCESSES = dict(pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')


@dataclass(frozen=True)
class Facts:
    """All that the recipe depends on.

    Attributes:
        images: Their number.
        side: Median of their shorter sides in pixels.
        classes: Subfolders that hold all the images; 0 if images lie beside them, or there are none or one.
        gpus: GPUs of this training, one for each process; 0 on a CPU.
        gpu_memory: Of the smallest one, in 10^9 bytes.
        cores: CPU cores of this machine that the training may use.
    """

    images: int
    side: int
    classes: int = 0
    gpus: int = 0
    gpu_memory: float = 0.0
    cores: int = 1


def look(folders: Sequence[str], launcher: str = 'none') -> Facts:
    """The facts of these folders of images and this machine.

    Every folder is listed; of the images at most 200 headers are read, evenly spread, and no pixels.

    Args:
        folders: At least one, with images at any depth.
        launcher: 'none' for one process, or as in tools/train.py.

    Raises:
        FileNotFoundError: If a folder does not exist.
        NotADirectoryError: If one is a file.
        ValueError: If there is no image, or no header of the sample can be read.
    """
    paths = [path for folder in folders for path in list_images(folder)]
    gpus, memory = _gpus(launcher)
    classes = count_classes(paths, folders[0]) if len(folders) == 1 else 0
    return Facts(len(paths), median_side(paths), classes, gpus, memory, num_cores())


def list_images(folder: str) -> list[str]:
    """The images below a folder, sorted.

    Raises:
        FileNotFoundError: If it does not exist.
        NotADirectoryError: If it is a file.
        ValueError: If there is none.
    """
    if os.path.isfile(folder):
        raise NotADirectoryError(
            f'--images {folder} is a list, and auto looks at folders only. Name a config instead of auto for a list.'
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'--images {folder} is not a folder (working directory: {os.getcwd()}).')
    paths, num_others = find_images(folder)
    if not paths:
        raise ValueError(f'--images {folder}: no image there or below, and {num_others} other files.')
    return paths


def count_classes(paths: Sequence[str], folder: str) -> int:
    """Subfolders of the first level, if all images are in them and there are two at least; else 0."""
    parents = {os.path.dirname(path) for path in paths}
    names = {os.path.relpath(parent, folder).split(os.sep)[0] for parent in parents}
    return 0 if '.' in names or len(names) < 2 else len(names)


def median_side(paths: Sequence[str], sample: int = HEADERS) -> int:
    """Median of the shorter sides in pixels of a sample, evenly spread over the list.

    Raises:
        ValueError: If no header can be read.
    """
    number = min(sample, len(paths))
    sides = []
    for place in range(number):
        try:
            sides.append(min(check_header(paths[place * len(paths) // number])))
        except (UndecodableImageError, OSError):
            continue
    if not sides:
        raise ValueError(f'None of {number} images can be read, such as {paths[0]}: are these images?')
    return median_low(sides)


def _gpus(launcher: str) -> tuple[int, float]:
    devices = range(torch.cuda.device_count())
    if not devices:
        return 0, 0.0
    processes = int(os.environ.get(_PROCESSES.get(launcher, ''), 1))
    return processes, min(torch.cuda.get_device_properties(device).total_memory for device in devices) / 1e9
