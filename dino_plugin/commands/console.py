"""What the console shows of the log; the log file is complete."""

import logging
from collections.abc import Callable

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
)
# The same for Python's warnings.
SILENCED_WARNINGS = (
    'Setting MKL_NUM_THREADS environment variable',
    '`broadcast_buffers` is deprecated',
    'Fail to import ``MultiScaleDeformableAttention``',
    '``build_loss`` would be deprecated soon',
    'The draw is False, it means that the hook for visualization will not take effect',
)
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
        if interval_of(record) in ('val', 'test') or (interval_of(record) == 'train' and is_terminal()):
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
        if interval_of(record) == 'train' and self.short_line is not None:
            text = self.short_line()
        level = record.levelname if record.levelno >= logging.WARNING else ''
        return ' '.join([record.asctime, *([colored(level, _COLOURS.get(level, 'red'))] if level else []), text])


def interval_of(record: logging.LogRecord) -> str | None:
    """What mmengine's LoggerHook tells at each interval: 'train', 'val' or 'test'; None for any other message."""
    mode, found = record.funcName, record.pathname.endswith('logger_hook.py')
    return mode[len('after_') : -len('_iter')] if found and mode.endswith('_iter') else None


def prepare_console(logger: MMLogger) -> tuple[ConsoleFilter, ConsoleFormatter]:
    """Gives filter and formatter to the handlers of a logger that are no files."""
    made = ConsoleFilter(), ConsoleFormatter()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(made[0])
            handler.setFormatter(made[1])
    return made
