"""What each worker of a loader reads at this moment, in memory that it shares with the main process."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

ROOM = 1024  # bytes of a worker: process, number of notes, then a text that ends in a zero
_HEAD = 16
_own: dict[str, Any] = {}  # in a worker: its row


class Note(NamedTuple):
    """The last note of a worker."""

    process: int  # 0 before it has started
    number: int  # of notes so far
    text: str  # path of a file, or empty: between two batches


class ReadingNotes:
    """A row of shared memory for each worker; as ``worker_init_fn`` of a DataLoader it tells a worker its row.

    Args:
        memory: Zeros that the workers share, ``ROOM`` for each.
        then: The loader's own ``worker_init_fn``.
    """

    def __init__(self, memory: UInt8[Tensor, ' bytes'], then: Callable[[int], Any] | None = None) -> None:
        self.rows = memory.view(-1, ROOM)
        self.then = then

    def __call__(self, worker: int) -> None:
        row = self.rows[worker].numpy()
        _own['row'] = row
        row[:] = 0
        _head(row)[0] = os.getpid()
        if self.then is not None:
            self.then(worker)

    def read(self) -> list[Note]:
        """The last note of each worker."""
        return [_note(row) for row in self.rows.numpy()]


def write_note(text: str) -> None:
    """Note a path, or '' after a batch, in a worker's row; elsewhere nothing happens."""
    row = _own.get('row')
    if row is None:
        return
    data = np.frombuffer(
        text.encode(errors='replace')[-(ROOM - _HEAD - 1) :], np.uint8
    )  # the end of a long path is its name
    _head(row)[1] += 1
    row[_HEAD : _HEAD + len(data)] = data
    row[_HEAD + len(data) :] = 0


def _head(row: UInt8[np.ndarray, ' bytes']) -> np.ndarray:
    return row[:_HEAD].view(np.int64)


def _note(row: UInt8[np.ndarray, ' bytes']) -> Note:
    process, number = _head(row).tolist()
    return Note(process, number, row[_HEAD:].tobytes().split(b'\0', 1)[0].decode(errors='replace'))
