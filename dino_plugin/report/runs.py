"""A run as its working directory tells it: numbers, log, settings, and whether it still goes on."""

import re
import time
import zipfile
from pathlib import Path

from dino_plugin.report import files
from dino_plugin.report.folders import DATED
from dino_plugin.report.log_file import LogFile, Warned
from dino_plugin.report.settings import read_settings
from dino_plugin.visualization.scalars import SCALARS, ScalarFile, joined

_QUIET = 300.0  # seconds without a sign of life after which a run is given up, if it logs often


class Run:
    """A working directory; `update` reads what is new.

    Args:
        name: What the page calls it.
        folder: The working directory. Nothing outside it is read.

    Attributes:
        scalars: Values of every scalar by iteration.
        warnings: Of all logs, the oldest first.
        settings: Of the newest config, by names for ``--cfg-options``.
        config: The newest config as text.
        environment: From the newest log that tells it.
        description: What is trained, by the words of the first log.
        state: ``running``, ``ended``, ``stopped`` (by a signal, with a checkpoint), ``crashed`` or ``empty``.
        sentence: The state in words.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        self.name, self.folder = name, Path(folder)
        self._scalars: dict[Path, ScalarFile] = {}
        self._logs: dict[Path, LogFile] = {}
        self.scalars: dict[str, dict[int, float]] = {}

    def update(self, now: float | None = None) -> None:
        """Read the files as they are now.

        Args:
            now: Seconds since 1970; None: the clock's.
        """
        scalars, logs, configs = (
            files.found(self.folder, self.folder, patterns)
            for patterns in ((SCALARS, f'*/{SCALARS}'), ('*.log', f'{DATED}/*.log'),
                             ('vis_data/config.py', '*.py', f'{DATED}/vis_data/config.py'))
        )  # fmt: skip
        self._scalars = {path: self._scalars.get(path) or ScalarFile(path) for path in scalars}
        self._logs = {path: self._logs.get(path) or LogFile(path) for path in logs}
        news = [_tried(file) for file in self._scalars.values()]
        for log_file in self._logs.values():
            _tried(log_file)
        if any(news):
            self.scalars = joined(list(self._scalars.values()))
        told = list(self._logs.values())
        self.warnings: list[Warned] = [warned for log in told for warned in log.warnings.values()]
        self.environment = next((log.environment for log in reversed(told) if log.environment), '')
        self.description = next((log.description for log in reversed(told) if log.description), {})
        self.times = (told[0].times[0], told[-1].times[1]) if told else ('', '')
        self.progress = told[-1].progress if told else None
        self.config = files.read_text(configs[-1]) if configs else ''
        self.settings = read_settings(self.config)
        self._checkpoint = self._newest_checkpoint()
        began = files.modified(configs[-1:])  # mmengine writes it at each start
        of_this_start = self._checkpoint is not None and files.modified([self._checkpoint]) >= began
        self._saved = self._checkpoint.name if of_this_start else ''
        seen = files.modified([*scalars, *logs, *self.folder.glob('*.pth')])
        self.state, self.sentence = self._state(seen, time.time() if now is None else now)

    @property
    def step(self) -> int:
        """The last iteration that was logged; 0 without any."""
        return max((next(reversed(values)) for values in self.scalars.values()), default=0)

    @property
    def checkpoint(self) -> str:
        """The newest checkpoint, and whether its file is whole."""
        path = self._checkpoint
        if path is None:
            return 'none'
        return path.name if zipfile.is_zipfile(path) else f'{path.name}, which is damaged'

    def _newest_checkpoint(self) -> Path | None:
        """The file that mmengine's pointer names, in this folder."""
        named = files.found(self.folder, self.folder, ['last_checkpoint'])
        name = Path(files.read_text(named[0]).strip('\0 \t\r\n')).name if named else ''
        path = self.folder / name
        try:
            return path if name and files.inside(self.folder, path) and path.is_file() else None
        except (OSError, ValueError):
            return None

    def _state(self, seen: float, now: float) -> tuple[str, str]:
        done = self._done()
        if not self._logs and not self.scalars:
            return 'empty', 'No log yet.'
        if self.progress is None and any(log.tested for log in self._logs.values()):
            return 'ended', 'A test, no training: its figures are in the log.'
        if self._finished():
            damaged = self._checkpoint is not None and not zipfile.is_zipfile(self._checkpoint)
            return 'ended', f'Ended: {done}.' + (' Its newest checkpoint is damaged.' if damaged else '')
        stopped = re.fullmatch(r'stopped_iter_(\d+)\.pth', self._saved)
        if stopped and int(stopped[1]) >= self.step:
            return 'stopped', f'Stopped by a signal: {done}. The same command with --resume goes on.'
        quiet = now - seen
        if quiet < max(_QUIET, 10 * self._seconds_between_logs()):
            return 'running', f'Running: {done}.'
        cure = 'The same command with --resume goes on.' if self._checkpoint else 'It saved no checkpoint.'
        return 'crashed', f'No sign of life for {_duration(quiet)}: {done}. It crashed or was killed. {cure}'

    def _done(self) -> str:
        epochs, done, planned = self._epochs(), self._reached(), self._planned()
        of = f' of {planned:,}' if planned and done < planned else ''
        return f'{epochs}{done:,}{of} iterations' if done else 'nothing done yet'

    def _epochs(self) -> str:
        if self.progress is None or not self.progress[0]:
            return ''
        return f'epoch {self.progress[0]} of {self.settings.get("train_cfg.max_epochs", "?")}, '

    def _planned(self) -> int:
        """Iterations of the whole training, 0 if unknown."""
        epoch, _, length = self.progress or (0, 0, 0)
        epochs = self.settings.get('train_cfg.max_epochs', '') if epoch else '1'
        return int(epochs) * length if epochs.isdecimal() else 0

    def _reached(self) -> int:
        """The last iteration of which anything tells: the end of an epoch is not always logged."""
        epoch, iteration, length = self.progress or (0, 0, 0)
        saved = re.fullmatch(r'(epoch|iter)_(\d+)\.pth', self._saved)
        counted = int(saved[2]) * (length if saved[1] == 'epoch' else 1) if saved else 0
        return max(self.step, max(0, epoch - 1) * length + iteration, counted)

    def _finished(self) -> bool:
        return 0 < self._planned() <= self._reached()

    def _seconds_between_logs(self) -> float:
        times = self.scalars.get('time', {})
        steps = list(times)[-2:]
        return times[steps[-1]] * (steps[-1] - steps[0]) if len(steps) == 2 else 0.0


def _tried(file: ScalarFile | LogFile) -> bool:
    """Whether there was anything new; a file that was deleted a moment ago has nothing."""
    try:
        return bool(file.update())
    except OSError:
        return False


def _duration(seconds: float) -> str:
    for unit, length in (('days', 86400), ('hours', 3600), ('minutes', 60)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {unit}'
    return f'{seconds:.0f} seconds'
