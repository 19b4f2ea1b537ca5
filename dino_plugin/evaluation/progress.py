"""How far long work is: a bar on a terminal, a line in the log from time to time elsewhere."""

import atexit
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from dino_plugin.evaluation.terminal_bar import TerminalBar, is_terminal

_LINES = 30  # seconds between two lines
_BARS = 0.2  # seconds between two bars

_running: list['Task'] = []  # the first is the outermost
_bar: TerminalBar | None = None


def progress(items: Iterable, name: str, total: int | None = None) -> Iterator[Any]:
    """The items; the first process tells how many are done and how long the rest will take.

    Args:
        items: Anything that can be iterated over, such as a dataloader.
        name: What they are.
        total: Their number; None: their length, if they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Task(name, total) as task:
        for number, item in enumerate(items, 1):
            yield item
            task.update(number)


class Task:
    """Long work, from now until `end`, as the first process shows it.

    On a terminal all running tasks share one line: the bar is the newest one's, the others are words before it.

    Args:
        name: What is counted, may change.
        total: How much there is to do; None: nobody knows.
        done: How much was done before, by an earlier run.
        details: Gives more words for the bar, such as the loss; called when it is drawn.
        lines: Whether to tell in the log where there is no terminal.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        done: int = 0,
        details: Callable[[], str] = str,
        lines: bool = True,
    ) -> None:
        self.name, self.total, self.done = name, total, done
        self._details, self._lines = details, lines
        self._before, self._began = done, time.monotonic()
        self._told = self._began
        self._mine = is_main_process()
        if self._mine:
            _running.append(self)
            self._draw()

    def __enter__(self) -> 'Task':
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def update(self, done: int) -> None:
        """So much is done now."""
        self.done = done
        if not self._mine:
            return
        now = time.monotonic()
        if _bar is not None:
            if now - self._told > _BARS:
                self._draw()
        elif self._lines and now - self._told > _LINES:
            self._told = now
            of = f' of {self.total:,}' if self.total else ''
            print_log(f'{self.name}: {done:,}{of} done{self._left(", about {}")}', logger='current')

    def end(self) -> None:
        """The work has ended, or failed; also ends tasks that began in it."""
        if self in _running:
            del _running[_running.index(self) :]
            if _running:
                _running[-1]._draw()
            else:
                _close()

    @property
    def seconds_left(self) -> float | None:
        """As long as the rest takes at the speed until now; None: nobody knows."""
        if self.total is None or self.done <= self._before:
            return None
        seconds = (time.monotonic() - self._began) / (self.done - self._before)
        return seconds * (self.total - self.done)

    def _draw(self) -> None:
        global _bar
        if _bar is None:
            if not is_terminal():
                return
            _bar = TerminalBar()
            atexit.register(_close)
        self._told = time.monotonic()
        outer = ''.join(f'{task.name} {task._count()}  ' for task in _running[:-1])
        after = [self._count(), self._left('{}'), self._details()]
        _bar.show(f'{outer}{self.name}', self.done, self.total, '  '.join(word for word in after if word))

    def _count(self) -> str:
        return f'{self.done:,}/{self.total:,}' if self.total else f'{self.done:,}'

    def _left(self, sentence: str) -> str:
        seconds = self.seconds_left
        return '' if seconds is None else sentence.format(f'{in_words(seconds)} left')


def _close() -> None:
    global _bar
    if _bar is not None:
        _bar.close()
        _bar = None
        atexit.unregister(_close)


def in_words(seconds: float) -> str:
    """A length of time with its two largest units: 50 s, 3 min 20 s, 3 h 20 min, 2 days 4 h."""
    seconds = round(seconds)
    for unit, length, smaller, part in (('days', 86400, 'h', 3600), ('h', 3600, 'min', 60), ('min', 60, 's', 1)):
        if seconds >= length:
            number, rest = divmod(seconds, length)
            unit = 'day' if unit == 'days' and number == 1 else unit
            return f'{number} {unit} {rest // part} {smaller}' if rest // part else f'{number} {unit}'
    return f'{seconds} s'
