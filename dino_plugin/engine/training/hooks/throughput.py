"""The speed of training in images per second."""

from mmengine.dist import get_world_size
from mmengine.hooks import Hook

from dino_plugin.core.views import ViewBatch


class ThroughputHook(Hook):
    """Log ``images_per_second`` of all processes; an image counts once, whatever the number of its views.

    Args:
        window: Iterations over which the time is averaged.
    """

    # After IterTimerHook, which measures, and before LoggerHook, which prints.
    priority = 'NORMAL'

    def __init__(self, window: int = 50) -> None:
        self.window = window

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """images / second = batch * processes / mean time of an iteration"""
        seconds = runner.message_hub.get_scalar('train/time').mean(self.window)
        batch = data_batch.global_views.shape[1] if isinstance(data_batch, ViewBatch) else len(data_batch[0])
        images = batch * get_world_size()
        runner.message_hub.update_scalar('train/images_per_second', images / seconds)
