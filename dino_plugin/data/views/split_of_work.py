"""The split of the work: how much of the views the workers of the dataloader make, and how much the device."""

import os

from mmengine.device import get_device
from mmengine.logging import print_log

SPLITS = ('worker', 'device', 'decode')
# One core of a 2.5 GHz Xeon cuts and resizes the views of 170 images in a second, or decodes 380 (docs/performance.md).
# With fewer cores than this for each GPU, the GPU cuts and resizes. The number is a guess: no GPU was measured.
FEWEST_CORES = 8


def chosen_split(split: str) -> str:
    """``split`` itself; for ``'auto'`` the split that suits this machine, which is logged with the reason.

    Raises:
        ValueError: If it is another word.
    """
    if split in SPLITS:
        return split
    if split != 'auto':
        raise ValueError(f"split is 'auto' or one of {', '.join(map(repr, SPLITS))}, got {split!r}")
    split, reason = _suitable_split()
    print_log(f"split='auto' of MultiCrop is split={split!r} here: {reason}", logger='current')
    return split


def _suitable_split() -> tuple[str, str]:
    if get_device() == 'cpu':
        return 'worker', 'there is no GPU'
    cores = num_cores() // int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if cores < FEWEST_CORES:
        return 'decode', f'a GPU, and {cores} CPU cores for each process, fewer than {FEWEST_CORES}'
    return 'device', f'a GPU, and {cores} CPU cores for each process'


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
