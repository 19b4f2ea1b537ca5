"""Dataloaders from configs, with and without workers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from dino_plugin.data.workers.reading_notes import ROOM, Note, ReadingNotes
from dino_plugin.data.workers.shared_memory import shared_bytes, use_pipes_if_memory_is_short

WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor', 'timeout')
# Seconds, where a config gives none: far longer than a file takes to arrive from a busy network disk.
TIMEOUT = 600


def without_unused_options(dataloader: DataLoader | dict[str, Any]) -> DataLoader | dict[str, Any]:
    """The config without the options of workers if ``num_workers`` is 0.

    PyTorch refuses these options without workers, so a user would have to remove each of them from a recipe.
    """
    if isinstance(dataloader, DataLoader) or dataloader.get('num_workers', 0):
        return dataloader
    return {name: value for name, value in dataloader.items() if name not in WORKER_OPTIONS}


def prepare_workers(loader: DataLoader) -> None:
    """Let the workers of a loader use pipes where shared memory is short, and end a run whose workers stand still.

    The loader's ``timeout`` is the time in seconds, 600 if it has none. See :class:`WatchedLoader`.
    """
    use_pipes_if_memory_is_short(loader)
    if loader.num_workers and type(loader) is DataLoader:
        loader.timeout = loader.timeout or TIMEOUT
        memory = shared_bytes(loader.num_workers * ROOM)
        loader.worker_init_fn = ReadingNotes(memory, loader.worker_init_fn)
        loader.__class__ = WatchedLoader  # mmengine builds it, and would build no other class


class WatchedLoader(DataLoader):
    """A DataLoader whose timeout names the workers and the files that they read; :func:`prepare_workers` makes it.

    PyTorch waits for a batch, and knows neither worker nor file. Here the time counts from the last file that any
    worker opened, so that a large batch from a slow disk is no reason to stop. It is waited for twice, half of the time
    each, so that a run that was suspended as a whole goes on.

    Raises:
        RuntimeError: From the iteration, if no worker opens a file and no batch arrives for ``timeout`` seconds.
    """

    def __iter__(self) -> Iterator[Any]:
        """The batches."""
        whole, self.timeout = self.timeout, self.timeout / 2
        try:
            iterator = super().__iter__()  # starts the workers now, not at the first batch
        except RuntimeError as error:
            self._refuse(error, whole)
        finally:
            self.timeout = whole
        return self._watched(iterator)

    def _watched(self, iterator: Iterator[Any]) -> Iterator[Any]:
        before = None
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                notes = self.worker_init_fn.read()
                if notes == before or not _is_timeout(error):
                    self._refuse(error, self.timeout)
                before = notes
                continue
            before = None
            yield batch

    def _refuse(self, error: RuntimeError, seconds: float) -> None:
        if not _is_timeout(error):
            raise error
        notes = self.worker_init_fn.read()
        workers = '; '.join(f'worker {number} {_described(note)}' for number, note in enumerate(notes))
        for note in notes:
            if _is_stopped(note.process):
                os.kill(note.process, signal.SIGCONT)  # a stopped process could not end, and this one would wait for it
        raise RuntimeError(
            f'No worker of the data loader gave a batch or opened a file for {seconds:g} seconds: {workers}. Look '
            'whether the files can be read and whether somebody stopped a process; the same command with --resume goes '
            'on. If the disk is only slow, set a longer timeout (seconds) in the dataloader.'
        ) from error


def _is_timeout(error: RuntimeError) -> bool:
    return str(error).startswith('DataLoader timed out')


def _described(note: Note) -> str:
    if note.process == 0:
        return '(not started)'
    state = ', stopped' if _is_stopped(note.process) else ''
    return f'(process {note.process}{state}) {f"reads {note.text}" if note.text else "is between two batches"}'


def _is_stopped(process: int) -> bool:
    """Whether a process got SIGSTOP and no SIGCONT; False where the system does not tell."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] == 'T'
    except OSError:
        return False
