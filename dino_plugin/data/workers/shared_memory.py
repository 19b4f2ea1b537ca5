"""Batches of workers where shared memory is short, as in a container.

PyTorch's workers pass their batches in shared memory, on Linux /dev/shm. Docker gives a container 64 MB of it. When it
is full PyTorch fails, in some versions by a bus error without a message.
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
from jaxtyping import Bool, UInt8
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from dino_plugin.data.workers.reading_notes import write_note

FOLDER = '/dev/shm'
MEBIBYTE = 2**20
# Each lock of a worker's queues takes a page. This is twice the number that was counted.
LOCKS = 6 * mmap.PAGESIZE
# Variables that say the number of processes on this machine: of torchrun, Slurm, Open MPI.
NUM_PROCESSES = ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE', 'OMPI_COMM_WORLD_LOCAL_SIZE')
CURE = 'Give the container more: docker run --shm-size=8g, or --ipc=host'


def free_shared_memory() -> float | int:
    """Free shared memory in bytes; infinite where there is no limit, or none is known."""
    if sys.platform != 'linux':
        return math.inf
    try:
        found = os.statvfs(FOLDER)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize if found.f_blocks else math.inf


def use_pipes_if_memory_is_short(loader: DataLoader) -> None:
    """Let the workers of this loader send batches through pipes when shared memory has no room for them.

    If not even the locks of the workers fit, the main process loads the images itself.
    """
    if loader.num_workers == 0 or isinstance(loader.collate_fn, PipeFallbackCollate):
        return
    loader.collate_fn = PipeFallbackCollate(loader.collate_fn)
    free = free_shared_memory()
    if free < MEBIBYTE + LOCKS * loader.num_workers * _processes_here():
        what = f'{FOLDER} has {free / 1024:.0f} KiB of shared memory, too little for {loader.num_workers} workers'
        print_log(f'{what}: num_workers=0, and loading is slower. {CURE}.', 'current', logging.WARNING)
        loader.num_workers, loader.timeout = 0, 0


class PipeFallbackCollate:
    """A collate function whose batches leave the worker through a pipe while shared memory is short.

    There is room if each worker of the machine could store two more batches as large as its last one: nobody knows how
    many batches are waiting. A worker makes its first batch in private memory, to learn the size.

    Args:
        collate_fn: Samples -> batch.
    """

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn
        self.last_size = math.inf

    def __call__(self, samples: Any) -> Any:
        worker = get_worker_info()
        if worker is None:
            return self.collate_fn(samples)
        batches_in_flight = 2 * worker.num_workers * _processes_here()
        if batches_in_flight * self.last_size <= free_shared_memory():
            return self._collate(samples)
        with _private_memory():
            batch = self._collate(samples)
        wanted, free = batches_in_flight * self.last_size, free_shared_memory()
        return batch if wanted <= free else PickledBatch(pickle.dumps(batch), wanted, free)

    def _collate(self, samples: Any) -> Any:
        batch = self.collate_fn(samples)
        self.last_size = num_bytes(batch)
        write_note('')  # no file is being read until the next batch
        return batch


class PickledBatch:
    """A batch on its way through a pipe: unpickling it gives the batch itself."""

    def __init__(self, content: bytes, wanted: int, free: float | int) -> None:
        self.sent = content, wanted, free

    def __reduce__(self) -> tuple:
        return _unpack, self.sent


def _unpack(content: bytes, wanted: int, free: float | int) -> Any:
    if not _warned:
        _warned.append(True)
        what = f'{FOLDER} has {free / MEBIBYTE:.1f} MiB of shared memory left, the batches on their way may want'
        print_log(
            f'{what} {wanted / MEBIBYTE:.1f}: some go through pipes, which is slower. {CURE}.',
            'current',
            logging.WARNING,
        )
    return pickle.loads(content)


_warned: list[bool] = []


def num_bytes(batch: Any) -> int:
    """Bytes of all tensors in a batch, also those inside data samples of OpenMMLab's packages."""
    if isinstance(batch, Tensor):
        return batch.nbytes
    if isinstance(batch, BaseDataElement):
        batch = batch.all_values()
    elif isinstance(batch, Mapping):
        batch = list(batch.values())
    return sum(num_bytes(part) for part in batch) if isinstance(batch, (list, tuple)) else 0


def shared_flags(number: int) -> Bool[Tensor, ' number']:
    """Flags, all False, in memory of :func:`shared_bytes`."""
    return shared_bytes(number).view(torch.bool)


def shared_bytes(number: int) -> UInt8[Tensor, ' number']:
    """Zeros that a process shares with the workers that it starts.

    If shared memory is full, only forked workers share them, spawned ones do not.
    """
    if free_shared_memory() >= number + mmap.PAGESIZE:
        return torch.zeros(number, dtype=torch.uint8).share_memory_()
    return torch.frombuffer(mmap.mmap(-1, number), dtype=torch.uint8)


def _processes_here() -> int:
    return next((int(os.environ[name]) for name in NUM_PROCESSES if os.environ.get(name, '').isdecimal()), 1)


@contextmanager
def _private_memory() -> Iterator[None]:
    """Hide from PyTorch's collate functions that they run in a worker, where they use shared memory."""
    worker = torch_worker._worker_info
    torch_worker._worker_info = None
    try:
        yield
    finally:
        torch_worker._worker_info = worker
