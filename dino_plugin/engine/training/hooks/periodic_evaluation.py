"""What hooks that look at the network during training have in common: when, at which network, and what they log."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from mmengine.hooks import Hook
from torch import nn

from dino_plugin.data.images.seeded_dataset import preserved_random_state
from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.engine.distributed.whole_network import whole_network
from dino_plugin.engine.training.hooks.checkpoint import between_steps, checkpoint_hook_of
from dino_plugin.engine.training.model import unwrapped


class PeriodicHook(Hook, ABC):
    """Looks at the network every few epochs and after the last; a subclass says how.

    Random states are restored, so training is not affected; a subclass restores the network's mode. A sharded network
    is whole in each process meanwhile. If a look fails, a checkpoint is saved before the program ends with the error.

    Args:
        interval: Epochs between two looks; iterations if not `by_epoch`.
        by_epoch: Whether `interval` counts epochs. Runs with an iteration-based loop need False.
        source: `teacher` or `student`.
        before_training: Look at the untrained network, too, as the first point.

    Raises:
        ValueError: If `interval` is less than 1, or `source` is another word.
    """

    # After the hooks that move the teacher and measure its outputs, before checkpoints are saved.
    priority = 'LOW'

    def __init__(self, interval: int, by_epoch: bool, source: str, before_training: bool) -> None:
        name = type(self).__name__
        if interval < 1:
            raise ValueError(f'{name}: interval={interval} must be at least 1.')
        if source not in ('teacher', 'student'):
            raise ValueError(f"{name}: source must be 'teacher' or 'student', got {source!r}.")
        self.interval, self.by_epoch = interval, by_epoch
        self.source, self.before_training = source, before_training

    @abstractmethod
    def prepare(self, runner) -> None:
        """Reads what is needed, so that a mistake shows before training."""

    @abstractmethod
    def look(self, runner, backbone: nn.Module, step: int) -> None:
        """Does the work after `step` iterations, in each process."""

    def backbone_of(self, runner) -> nn.Module:
        """That of teacher or student."""
        return getattr(unwrapped(runner.model).distillation, self.source).backbone

    def before_train(self, runner) -> None:
        """Prepare; look unless the run was resumed."""
        with preserved_random_state(gpu=True):
            self.prepare(runner)
        if self.before_training and runner.iter == 0:
            self._look(runner, 0)

    def after_train_epoch(self, runner) -> None:
        """Look if epochs are counted."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._look(runner, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look if iterations are counted."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._look(runner, runner.iter + 1)

    def _look(self, runner, step: int) -> None:
        backbone = self.backbone_of(runner)
        try:
            with preserved_random_state(gpu=True), whole_network(backbone):
                self.look(runner, backbone, step)
        except Exception as error:
            if step:
                _save_before_the_end(runner, step, f'{type(self).__name__}: {type(error).__name__}: {error}')
            raise


def _save_before_the_end(runner, step: int, cause: str) -> None:
    """The work until here, if this process can save it alone: the others wait in the look, or failed, too."""
    if isinstance(runner.model, FullyShard):
        return
    try:
        path = checkpoint_hook_of(runner).save_now(runner, step)
        rest = '' if between_steps(runner) else ', without the gradients of a part of a step (accumulative_counts)'
        runner.logger.error(f'{cause}. Training until here is saved in {path}{rest}; --resume goes on after this look.')
    except Exception as error:  # the first one says more
        runner.logger.error(f'{cause}. Training until here could not be saved: {error}')


class PeriodicEvaluation(PeriodicHook):
    """Evaluates every few epochs and after the last; a subclass says what.

    The numbers go to the log, the message hub and each visualizer.
    """

    prefix: str

    @abstractmethod
    def evaluate(self, runner, backbone: nn.Module) -> Mapping[str, float]:
        """Numbers by name, the same in each process."""

    def look(self, runner, backbone: nn.Module, step: int) -> None:
        """Evaluate and log."""
        found = self.evaluate(runner, backbone)
        scores = {f'{self.prefix}/{name}': score for name, score in found.items()}
        for name, score in scores.items():
            runner.message_hub.update_scalar(name, score)
        runner.visualizer.add_scalars(scores, step=step)
        text = ', '.join(f'{name} {score:.1f}' for name, score in found.items())
        runner.logger.info(f'{self.prefix} of the {self.source} after {step} iterations: {text}')
