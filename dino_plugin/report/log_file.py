"""What mmengine's log says of a run: its environment, its length, and warnings."""

import re
from pathlib import Path
from typing import NamedTuple

from dino_plugin.commands.console import SILENCED
from dino_plugin.visualization.scalars import GrowingFile

_ENTRY = re.compile(r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - \S+ - ([A-Z]+) - ?(.*)')
_PROGRESS = re.compile(r'\(train\) +(?:\[ *(\d+)\])?\[ *(\d+)/(\d+)\]')
_TEST = re.compile(r'\(test\) +\[ *\d+/\d+\]')
_DESCRIPTION = re.compile(r' {4}(\S.*?) {2,}(\S.*)')
_LOUD = ('WARNING', 'ERROR', 'CRITICAL')


class Warned(NamedTuple):
    """A warning or an error; those that differ only in numbers are one.

    Attributes:
        level: ``WARNING``, ``ERROR`` or ``CRITICAL``.
        first: When it came first.
        last: When it came last.
        count: How often it came.
        text: As it came last.
    """

    level: str
    first: str
    last: str
    count: int
    text: str


class LogFile:
    """A log, read once however often one asks.

    Args:
        path: The file.

    Attributes:
        warnings: Without those that no user can act on.
        environment: The versions of everything.
        description: What is trained, by the words of the first log.
        progress: Epoch (0 in a training that counts iterations), iteration in it, and iterations of it.
        tested: Whether a test was run.
        times: When the log begins and ends.
    """

    def __init__(self, path: str | Path) -> None:
        self.warnings: dict[str, Warned] = {}
        self.environment = ''
        self.description: dict[str, str] = {}
        self.progress: tuple[int, int, int] | None = None
        self.tested = False
        self.times = ('', '')
        self._file = GrowingFile(path)

    def update(self) -> None:
        """Read what is new."""
        entry: list[str] = []
        for line in self._file.new_lines():
            if found := _ENTRY.fullmatch(line):
                self._add(entry)
                entry = list(found.groups())
                self.times = (self.times[0] or found[1], found[1])
            elif entry:
                entry.append(line)
        self._add(entry)

    def _add(self, entry: list[str]) -> None:
        if not entry:
            return
        time, level, *lines = entry
        text = '\n'.join(lines).strip()
        if level in _LOUD and not text.startswith(SILENCED):
            kind = re.sub(r'[\d.]+', '0', text)
            before = self.warnings.get(kind, Warned(level, time, time, 0, text))
            self.warnings[kind] = Warned(level, before.first, time, before.count + 1, text)
        elif found := _PROGRESS.search(lines[0]):
            epoch, done, length = found.groups()
            self.progress = (int(epoch or 0), int(done), int(length))
        elif _TEST.search(lines[0]):
            self.tested = True
        elif 'System environment:' in text:
            self.environment = text.strip('-\n')
        elif text.startswith('Training begins.'):
            self.description = dict(found.groups() for line in lines[1:] if (found := _DESCRIPTION.fullmatch(line)))
