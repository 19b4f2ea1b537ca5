"""Ends workers of a dataloader that stand still, and says which file they were reading."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dino_plugin.data.workers.reading_notes import Note, ReadingNotes

TICK = 1.0  # seconds


class Watchdog(threading.Thread):
    """Kills all workers if none of them notes a new file for some time while the main process waits for a batch.

    PyTorch's own timeout is no help if a worker is stopped while it hands over a batch: then the main process waits for
    it in a system call without a limit. Its end wakes the main process in every case. Only ticks count, so that a run
    that is suspended as a whole goes on afterwards.

    Args:
        notes: Of the workers.
        seconds: Without a new file.

    Attributes:
        message: What happened, once the workers have been killed.
    """

    def __init__(self, notes: ReadingNotes, seconds: float) -> None:
        super().__init__(name='watchdog of a dataloader', daemon=True)
        self.notes, self.seconds = notes, seconds
        self.message = ''
        self._num_waits, self._waiting, self._ended = 0, False, threading.Event()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The main process waits for a batch inside the ``with`` block; what it then raises tells what happened."""
        self._num_waits += 1
        self._waiting = True
        try:
            yield
        except Exception as error:
            if self.message:
                raise RuntimeError(self.message) from error
            raise
        finally:
            self._waiting = False
        if self.message:
            raise RuntimeError(self.message)

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def run(self) -> None:
        """Look at the notes once in a while."""
        before, quiet, tick = None, 0.0, min(TICK, self.seconds / 4)
        while not self._ended.wait(tick):
            seen = self.notes.read(), self._num_waits
            quiet = quiet + tick if self._waiting and seen == before else 0.0
            before = seen
            if quiet >= self.seconds:
                self._bite(seen[0])
                return

    def _bite(self, notes: list[Note]) -> None:
        workers = '; '.join(f'worker {number} {_described(note)}' for number, note in enumerate(notes))
        self.message = (
            f'No worker of the data loader gave a batch or opened a file for {self.seconds:g} seconds: {workers}. Look '
            'whether the files can be read and whether somebody stopped a process; the same command with --resume goes '
            'on. If the disk is only slow, set a longer timeout (seconds) in the dataloader.'
        )
        for note in notes:
            if note.process:
                with suppress(ProcessLookupError):
                    os.kill(note.process, signal.SIGKILL)  # nothing else ends a stopped process


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
