"""Logged values that do not slow down a long training."""

from mmengine.hooks import Hook

MAX_LENGTH = 10_000


class BoundedHistoryHook(Hook):
    """Keep the last 10,000 values of each logged number; mmengine keeps a million and copies them at each iteration.

    The windows of mmengine's logs, 50 iterations in our configs, are far shorter. A ``window_size`` of 'global', or of
    'epoch' where an epoch is longer, averages over the last 10,000. Curves are complete: each value is written when it
    is logged. Checkpoints have the same history.
    """

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Bound what was added since; the next value cuts what is too long."""
        for history in runner.message_hub.log_scalars.values():
            history.max_length = min(history.max_length, MAX_LENGTH)
