"""What the console shows of the log; the log file is complete."""

import importlib
import io
import logging
from collections.abc import Callable
from contextlib import redirect_stdout, suppress

from mmengine.logging import MMLogger
from termcolor import colored

from dino_plugin.evaluation.terminal_bar import is_terminal

# mmengine's messages that no user can act on, or that our own first log, lines and bars say.
SILENCED = (
    '"FileClient" will be deprecated in future',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    'Distributed training is not used, all SyncBatchNorm',
    'Checkpoints will be saved to',
    'paramwise_options -- ',
    'The prefix is not set in metric class',
    'Exp name: ',
    'Saving checkpoint at ',
    'Load checkpoint from ',  # mmengine has printed the same already
)
# The same for Python's warnings.
SILENCED_WARNINGS = (
    'Setting MKL_NUM_THREADS environment variable',
    '`broadcast_buffers` is deprecated',
    'Fail to import ``MultiScaleDeformableAttention``',
    '``build_loss`` would be deprecated soon',
    'The draw is False, it means that the hook for visualization will not take effect',
    'For binary segmentation, we suggest using`out_channels = 1`',
    'Default ``avg_non_ignore`` is False',
    'faster_coco_eval is not installed',
)
# Printed when a package is imported.
SILENCED_PRINTS = ('Could not import OneDL',)
_IMPORTED = ('mmseg', 'mmpretrain', 'mmdet')  # by mmengine, if a config has this scope

# Of mmengine's LoggerHook. Bars and lines of ours show how far an evaluation is, and tools/test.py shows the results.
_SHOWN_OTHERWISE = ('after_val_iter', 'after_test_iter', 'after_test_epoch')
_INTERVAL = 'after_train_iter'
_COLOURS = dict(WARNING='yellow', ERROR='red')


class ConsoleFilter(logging.Filter):
    """Hides from the console what fills screens: environment, whole config, hooks, and each interval's full line.

    Attributes:
        starting: While True, messages of several lines are hidden, unless they are warnings.
    """

    starting = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shows it."""
        text = record.getMessage()
        if record.levelno < logging.WARNING and self.starting and '\n' in text.strip():
            return False
        moment = moment_of(record)
        if moment in _SHOWN_OTHERWISE or (moment == _INTERVAL and is_terminal()):
            return False
        return not text.startswith(SILENCED)


class ConsoleFormatter(logging.Formatter):
    """Time and text, and a short line in place of each full line of training.

    Attributes:
        short_line: Gives it; None: the full line is shown.
    """

    short_line: Callable[[], str] | None = None

    def __init__(self) -> None:
        super().__init__('%(asctime)s %(message)s', '%m/%d %H:%M:%S')

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the level in colour if it is a warning or an error."""
        text = record.message
        if moment_of(record) == _INTERVAL and self.short_line is not None:
            text = self.short_line()
        level = record.levelname if record.levelno >= logging.WARNING else ''
        return ' '.join([record.asctime, *([colored(level, _COLOURS.get(level, 'red'))] if level else []), text])


def moment_of(record: logging.LogRecord) -> str:
    """When mmengine's LoggerHook said it, such as 'after_train_iter'; '' for any other message."""
    return record.funcName if record.pathname.endswith('logger_hook.py') else ''


def prepare_console(logger: MMLogger) -> tuple[ConsoleFilter, ConsoleFormatter]:
    """Gives filter and formatter to the handlers of a logger that are no files."""
    made = ConsoleFilter(), ConsoleFormatter()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(made[0])
            handler.setFormatter(made[1])
    return made


def import_quietly(scope: str | None) -> None:
    """Import the package of a config's default scope without what it prints that no user can act on."""
    if scope not in _IMPORTED:
        return
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(ImportError):  # mmengine tells what is missing, when it is needed
        importlib.import_module(f'{scope}.datasets')
    for line in printed.getvalue().splitlines():
        if line not in SILENCED_PRINTS:
            print(line)
