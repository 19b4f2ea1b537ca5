"""What a part finds, written down at once: a part that is killed later keeps it."""

import json
import math
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar('Result')


class NotRun(Exception):
    """The reason why something cannot run here, which is no failure: no compiler, no images, no time."""


class Findings:
    """Lines of a file, one for each thing that was checked, measured or left out.

    Args:
        file: Where they go.
        until: When the part should have ended, in seconds of ``time.time``.
    """

    def __init__(self, file: str | Path, until: float) -> None:
        self._file = Path(file)
        self._until = until
        self._longest = 0.0

    @property
    def seconds_left(self) -> float:
        """Until the part should have ended."""
        return self._until - time.time()

    def check(self, name: str, passed: bool, detail: str, **figures: Any) -> None:
        """Whether something is as it should be."""
        self._write('checks', dict(name=name, passed=bool(passed), detail=detail, **figures))

    def measure(self, name: str, **figures: Any) -> None:
        """Figures without a right or wrong."""
        self._write('figures', dict(name=name, **figures))

    def leave_out(self, name: str, reason: str) -> None:
        """Something that did not run, and why."""
        self._write('left_out', dict(name=name, reason=reason))

    def attempt(self, name: str, work: Callable[[], Result]) -> Result | None:
        """Call it; what fails is a failed check, and the part goes on.

        It is left out where the time that is left is less than the longest attempt so far took.
        """
        if self.seconds_left < self._longest:
            self.leave_out(name, 'no time left')
            return None
        began = time.time()
        try:
            return work()
        except NotRun as reason:
            self.leave_out(name, str(reason))
        except Exception as error:
            self.check(name, False, f'{type(error).__name__}: {error}', traceback=traceback.format_exc())
        finally:
            self._longest = max(self._longest, time.time() - began)
        return None

    def _write(self, kind: str, entry: dict) -> None:
        with self._file.open('a') as file:
            file.write(json.dumps({'kind': kind, **_plain(entry)}) + '\n')


def read_findings(file: Path) -> dict[str, list[dict]]:
    """The lines of a file by kind; a last line that was not written to its end is left out."""
    found: dict[str, list[dict]] = dict(checks=[], figures=[], left_out=[])
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found[entry.pop('kind')].append(entry)
    return found


def _plain(value: Any) -> Any:
    """As JSON can say it, which knows no infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)
