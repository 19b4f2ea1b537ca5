"""Batches reach the training where there is little shared memory, as in a container.

PyTorch's workers hand over their batches in shared memory, on Linux /dev/shm, of which Docker gives a container 64 MB.
Once it is full PyTorch fails, in some versions by a bus error that names nothing.
"""

import logging
import math
import mmap
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.data._utils.worker as torch_worker
from jaxtyping import Bool
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

FOLDER = '/dev/shm'
MEBIBYTE = 2**20
# The locks of a worker's queues take a page each, whatever it sends; twice as many as were counted.
LOCKS = 6 * mmap.PAGESIZE
# Processes on this machine: torchrun, Slurm, Open MPI.
NUM_PROCESSES = ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE', 'OMPI_COMM_WORLD_LOCAL_SIZE')
CURE = 'Give the container more: docker run --shm-size=8g, or --ipc=host'


def free_shared_memory() -> float | int:
    """In bytes; infinite where it has no limit or none that can be known."""
    if sys.platform != 'linux':
        return math.inf
    try:
        found = os.statvfs(FOLDER)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize if found.f_blocks else math.inf


def spare_shared_memory(loader: DataLoader) -> None:
    """Lets the workers of this loader send by other ways what shared memory has no room for.

    Where not even their locks fit, the main process loads the images itself. Nothing changes where there is room.
    """
    if loader.num_workers == 0 or isinstance(loader.collate_fn, SparingCollate):
        return
    loader.collate_fn = SparingCollate(loader.collate_fn)
    free = free_shared_memory()
    if free < MEBIBYTE + LOCKS * loader.num_workers * _processes_here():
        what = f'{FOLDER} has {free / 1024:.0f} KiB of shared memory, too little for {loader.num_workers} workers'
        print_log(f'{what}: num_workers=0, and loading is slower. {CURE}.', 'current', logging.WARNING)
        loader.num_workers, loader.timeout = 0, 0


class SparingCollate:
    """A collate function whose batches leave a worker through a pipe while shared memory is short.

    There is room if every worker of the machine could place two more batches as large as the last one, since it is not
    known how many are on their way. The first batch of a worker is made in memory of its own, to see its size.

    Args:
        collate_fn: Makes the batch of the samples.
    """

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn
        self.last_size = math.inf

    def __call__(self, samples: Any) -> Any:
        worker = get_worker_info()
        if worker is None:
            return self.collate_fn(samples)
        senders = 2 * worker.num_workers * _processes_here()
        if senders * self.last_size <= free_shared_memory():
            batch = self.collate_fn(samples)
            self.last_size = num_bytes(batch)
            return batch
        with _own_memory():
            batch = self.collate_fn(samples)
        self.last_size = num_bytes(batch)
        wanted, free = senders * self.last_size, free_shared_memory()
        return batch if wanted <= free else Parcel(pickle.dumps(batch), wanted, free)


class Parcel:
    """A batch in a worker that is a plain batch again for whoever receives it."""

    def __init__(self, content: bytes, wanted: int, free: float | int) -> None:
        self.sent = content, wanted, free

    def __reduce__(self) -> tuple:
        return _unpack, self.sent


def _unpack(content: bytes, wanted: int, free: float | int) -> Any:
    if not _told:
        _told.append(True)
        what = f'{FOLDER} has {free / MEBIBYTE:.1f} MiB of shared memory left, the batches on their way may want'
        print_log(
            f'{what} {wanted / MEBIBYTE:.1f}: some go through pipes, which is slower. {CURE}.',
            'current',
            logging.WARNING,
        )
    return pickle.loads(content)


_told: list[bool] = []


def num_bytes(batch: Any) -> int:
    """Of all tensors in it, also those of samples of mmsegmentation and its sisters."""
    if isinstance(batch, Tensor):
        return batch.nbytes
    if isinstance(batch, BaseDataElement):
        batch = batch.all_values()
    elif isinstance(batch, Mapping):
        batch = list(batch.values())
    return sum(num_bytes(part) for part in batch) if isinstance(batch, (list, tuple)) else 0


def shared_flags(number: int) -> Bool[Tensor, ' number']:
    """Flags, all False, that a process shares with the workers that it starts.

    Without shared memory they lie in pages that forked workers see, and spawned ones do not.
    """
    if free_shared_memory() >= number + mmap.PAGESIZE:
        return torch.zeros(number, dtype=torch.bool).share_memory_()
    return torch.frombuffer(mmap.mmap(-1, number), dtype=torch.bool)


def _processes_here() -> int:
    return next((int(os.environ[name]) for name in NUM_PROCESSES if os.environ.get(name, '').isdecimal()), 1)


@contextmanager
def _own_memory() -> Iterator[None]:
    """PyTorch's collate functions write into shared memory wherever they find themselves in a worker."""
    worker = torch_worker._worker_info
    torch_worker._worker_info = None
    try:
        yield
    finally:
        torch_worker._worker_info = worker
