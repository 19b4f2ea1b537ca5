"""A test loop over images with objects."""

from mmengine.runner import TestLoop
from torch.utils.data import DataLoader

from dino_plugin.data.workers.dataloaders import without_unused_options
from dino_plugin.engine.evaluating.bank_loop import refuse_repeated_samples


class ObjectTestLoop(TestLoop):
    """mmengine's test loop for an `ObjectDataset`; metrics write their tables and pictures into the work directory.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        **kwargs: Arguments of mmengine's `TestLoop`.

    Raises:
        ValueError: If the sampler gives an image to two processes.
    """

    items = 'images'

    def __init__(self, runner, dataloader: DataLoader | dict, evaluator, **kwargs) -> None:
        super().__init__(runner, without_unused_options(dataloader), evaluator, **kwargs)
        refuse_repeated_samples(self.dataloader, self.items)
        for metric in self.evaluator.metrics:
            if getattr(metric, 'out_dir', '') is None:
                metric.out_dir = runner.work_dir
