"""Who makes the views: the worker of the data loader, or the device."""

import os

from mmengine.device import get_device
from mmengine.logging import print_log

SPLITS = ('worker', 'device', 'decode')
# A core of a 2.5 GHz Xeon that cuts and resizes makes the views of 170 images a second, one that only decodes 380
# (docs/performance.md). With fewer cores than this for each GPU, the cutting is done there; how many a GPU can use is a
# guess, since none was measured.
FEWEST_CORES = 8


def chosen_split(split: str) -> str:
    """``split``, or what suits this machine for ``'auto'``, which is logged with the reason.

    Raises:
        ValueError: If it is none of those, or ``'auto'``.
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
    """That this process may use, where the system can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
