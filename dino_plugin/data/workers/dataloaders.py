"""Dataloaders from configs, with and without workers."""

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from dino_plugin.data.workers.reading_notes import ROOM, ReadingNotes
from dino_plugin.data.workers.shared_memory import shared_bytes, use_pipes_if_memory_is_short
from dino_plugin.data.workers.watchdog import Watchdog

WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor', 'timeout')
# Seconds, where a config gives none: far longer than a file takes to arrive from a busy network disk.
TIMEOUT = 600


def without_unused_options(dataloader: DataLoader | dict[str, Any]) -> DataLoader | dict[str, Any]:
    """The config without the options of workers if ``num_workers`` is 0, and without ``pin_memory`` if there is no GPU.

    PyTorch refuses the first without workers, and warns of the other; a user would have to remove each from a recipe.
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    unused = () if dataloader.get('num_workers', 0) else WORKER_OPTIONS
    if not torch.accelerator.is_available():
        unused = (*unused, 'pin_memory')
    return {name: value for name, value in dataloader.items() if name not in unused}


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

    The time counts from the last file that any worker opened, so that a large batch from a slow disk is no reason to
    stop. See :class:`~dino_plugin.data.workers.watchdog.Watchdog`.

    Raises:
        RuntimeError: From the iteration, if no worker opens a file and no batch arrives for ``timeout`` seconds.
    """

    def __iter__(self) -> Any:
        """The batches."""
        watchdog = Watchdog(self.worker_init_fn, self.timeout)
        seconds, self.timeout = self.timeout, 0  # the watchdog's, not PyTorch's
        if self._iterator is not None:
            watchdog.start()  # the persistent workers have to answer now
        try:
            with watchdog.waiting():
                iterator = super().__iter__()  # starts the workers now, not at the first batch
        except BaseException:
            watchdog.end()
            raise
        finally:
            self.timeout = seconds
        if not watchdog.is_alive():  # not before: processes with threads should not fork
            watchdog.start()
        batches = _watched(iterator, watchdog)
        weakref.finalize(batches, watchdog.end)
        return batches


def _watched(iterator: Iterator[Any], watchdog: Watchdog) -> Iterator[Any]:
    end = object()
    while True:
        with watchdog.waiting():
            batch = next(iterator, end)
        if batch is end:
            return
        yield batch
