"""A bar in the last line of a terminal; whatever else the program writes appears above it."""

import logging
import os
import sys
from typing import Any, TextIO

from mmengine.logging import MMLogger
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_WIDEST, _NARROWEST = 40, 8  # columns of the bar; where less is left, words alone are shown


def is_terminal() -> bool:
    """Whether standard output can show a bar: a terminal which is not TERM=dumb."""
    return sys.stdout.isatty() and Console().is_interactive


class TerminalBar:
    """One line with words, a bar, and more words; it is there from the first `show` until `close`.

    No thread draws it, so processes that are forked meanwhile inherit no lock. Colours follow NO_COLOR. In the
    meantime `sys.stdout`, `sys.stderr` and the handlers of mmengine's logger write above it, if they are terminals.
    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
        )
        self._live.start()
        self._console.show_cursor(True)  # a program that is killed could not bring it back
        self._handlers = []
        for handler in MMLogger.get_current_instance().handlers:
            if type(handler) is logging.StreamHandler and handler.stream.isatty():
                self._handlers.append((handler, handler.setStream(_Above(handler.stream, self._console))))
        self._streams = {name: getattr(sys, name) for name in ('stdout', 'stderr') if getattr(sys, name).isatty()}
        for name, stream in self._streams.items():
            setattr(sys, name, _Above(stream, self._console))

    def show(self, before: str, done: int, total: int | None, after: str) -> None:
        """Draw the line.

        Args:
            before: Words before the bar.
            done: How much is done.
            total: Of how much; None: nobody knows.
            after: Words after the bar, which are cut where the line ends.
        """
        width = min(_WIDEST, self._console.width - len(before) - len(after) - 2)
        line = Table.grid(padding=(0, 1), pad_edge=False)
        parts = [Text(before, no_wrap=True, overflow='ellipsis', style='bold')]
        if width >= _NARROWEST and total:
            parts.append(ProgressBar(total=total, completed=done, width=width))
        line.add_row(*parts, Text(after, no_wrap=True, overflow='ellipsis'))
        self._live.update(line, refresh=True)

    def close(self) -> None:
        """Remove the line; everything writes as before."""
        for name, stream in self._streams.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._live.stop()


class _Above:
    """A stream of the terminal whose lines appear above the bar; in a forked process, the plain stream."""

    def __init__(self, stream: TextIO, console: Console) -> None:
        self._stream, self._console = stream, console
        self._process, self._begun = os.getpid(), ''

    def write(self, text: str) -> int:
        if os.getpid() != self._process:
            return self._stream.write(text)
        *lines, self._begun = (self._begun + text).split('\n')
        if lines:
            self._console.print(Text.from_ansi('\n'.join(lines)), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Also shows a line that has not ended yet, such as a question."""
        if os.getpid() == self._process and self._begun:
            self.write('\n')
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
