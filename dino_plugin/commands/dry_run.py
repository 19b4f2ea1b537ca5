"""--dry-run: everything that a training needs is built, and its first batch is made."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from torch import Tensor

from dino_plugin.commands.first_log import FirstLogHook


class DryRunEnded(SystemExit):
    """The program ends with status 0, before the first step.

    Args:
        batch: What the first step would have got.
    """

    def __init__(self, batch: Any) -> None:
        super().__init__(0)
        shapes = ', '.join(' x '.join(map(str, tensor.shape)) for tensor in _tensors(batch))
        self.message = f'Dry run: everything is built, and the first batch is here ({shapes}). Nothing was trained.'


class DryRunHook(Hook):
    """Ends the training when all is built, before pictures and evaluations; the first batch is made for it."""

    priority = 'HIGHEST'

    def before_train(self, runner) -> None:
        """Log what would be trained, make a batch, end.

        Raises:
            DryRunEnded: Always.
        """
        if hasattr(runner, 'console_filter'):  # ours; others log nothing
            FirstLogHook().before_train(runner)
        raise DryRunEnded(next(iter(runner.train_dataloader)))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _tensors(entry)
