"""What a terminal shows of the log; the log file is complete."""

import logging

# mmengine's messages at each start that no user can act on, or that `describe_training` says.
SILENCED = (
    '"FileClient" will be deprecated in future',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    'Distributed training is not used, all SyncBatchNorm',
    'Checkpoints will be saved to',
    'paramwise_options -- ',
    'The prefix is not set in metric class',
)
# The same for Python's warnings.
SILENCED_WARNINGS = (
    'Setting MKL_NUM_THREADS environment variable',
    '`broadcast_buffers` is deprecated',
    'Fail to import ``MultiScaleDeformableAttention``',
    '``build_loss`` would be deprecated soon',
    'The draw is False, it means that the hook for visualization will not take effect',
)


class ConsoleFilter(logging.Filter):
    """Hides long messages at the start from the console: environment, whole config, hooks. The log file has them.

    Attributes:
        starting: While True, messages of several lines are hidden, unless they are warnings.
    """

    starting = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shows it."""
        text = record.getMessage()
        fills_screens = self.starting and '\n' in text.strip() and record.levelno < logging.WARNING
        return not fills_screens and not text.startswith(SILENCED)
