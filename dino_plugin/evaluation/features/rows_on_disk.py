"""An array that is computed row by row into a file, and read from there without being loaded whole."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mmengine.dist import barrier, get_rank
from numpy.lib.format import open_memmap


def write_rows(path: Path, shape: tuple[int, ...], rows: Iterable[tuple[int, np.ndarray]]) -> None:
    """Writes a `.npy` file of float16, for `np.load(path, mmap_mode='r')`; it has its name only when it is whole.

    Args:
        path: Of the file, on a disk that all processes see.
        shape: Of the array.
        rows: Number and content of each row of this process; those of all processes together are the array.
    """
    unfinished = path.with_suffix('.part')
    if get_rank() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        open_memmap(unfinished, 'w+', np.float16, shape).flush()
    barrier()
    array = open_memmap(unfinished, 'r+')
    for number, row in rows:
        array[number] = row
    array.flush()
    barrier()
    if get_rank() == 0:
        unfinished.rename(path)
    barrier()
