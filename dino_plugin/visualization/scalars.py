"""The scalars that mmengine's visualizer writes into the working directory, of a finished or of a running training."""

import json
from collections.abc import Iterator
from pathlib import Path

SCALARS = 'vis_data/scalars.json'


class GrowingFile:
    """A text file that another program may still write: each call gives the lines that are complete since the last.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._offset = 0

    def new_lines(self) -> Iterator[str]:
        """Lines without their ends; a last line without an end is half-written, and waits for the next call."""
        with self.path.open('rb') as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b'\n'):
                    return
                self._offset += len(line)
                yield line.decode(errors='replace').rstrip('\r\n')


class ScalarFile:
    """The values of a ``scalars.json``, read once however often one asks.

    mmengine counts epochs, not iterations, in the lines of a validation of an epoch-based training. They are placed at
    the iteration of the training line before them, so that all curves share one axis.

    Args:
        path: The file.

    Attributes:
        values: Values of every scalar by iteration, in the order of the file.
        first: The iteration of the first line; None before one was read.
    """

    def __init__(self, path: str | Path) -> None:
        self.values: dict[str, dict[int, float]] = {}
        self.first: int | None = None
        self._file = GrowingFile(path)
        self._epoch, self._step = -1, -1

    def update(self) -> bool:
        """Read what is new; damaged lines are left out.

        Returns:
            Whether there was anything.
        """
        line = None
        for line in self._file.new_lines():
            try:
                record = json.loads(line)
                step = int(record['step'])
                numbers = {name: float(value) for name, value in record.items() if isinstance(value, int | float)}
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if 'iter' in record:
                self._epoch, self._step = record.get('epoch', -1), step
            elif step == self._epoch < self._step:
                step = self._step
            self.first = step if self.first is None else self.first
            for name, value in numbers.items():
                self.values.setdefault(name, {})[step] = value
        return line is not None


def scalar_files(work_dir: str | Path) -> list[Path]:
    """The files of all trainings in a working directory, the oldest first; not of working directories inside it."""
    return sorted([*Path(work_dir).glob(SCALARS), *Path(work_dir).glob(f'*/{SCALARS}')])


def joined(files: list[ScalarFile]) -> dict[str, dict[int, float]]:
    """The values of every scalar by iteration, sorted; from where a file begins, those before it do not count.

    A run that is resumed does some iterations again, and one that starts again in the same directory all of them.
    """
    scalars: dict[str, dict[int, float]] = {}
    for file in files:
        if file.first is None:
            continue
        before = {name: {step: value for step, value in values.items() if step < file.first}
                  for name, values in scalars.items()}  # fmt: skip
        scalars = {name: before.get(name, {}) | file.values.get(name, {}) for name in before | file.values}
    return {name: dict(sorted(values.items())) for name, values in scalars.items() if values}


def read_scalars(work_dir: str | Path) -> dict[str, dict[int, float]]:
    """The values of every scalar by iteration, from all starts of a training; where two overlap, the later one counts.

    Raises:
        FileNotFoundError: If the directory has no `vis_data/scalars.json`.
    """
    files = [ScalarFile(path) for path in scalar_files(work_dir)]
    if not files:
        raise FileNotFoundError(
            f'No {SCALARS} in {work_dir}: give the working directory of a training whose visualizer has '
            "vis_backends=[dict(type='LocalVisBackend')]."
        )
    for file in files:
        file.update()
    return joined(files)
