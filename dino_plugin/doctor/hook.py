"""The hook that examines a training: everything before it, then its first steps."""

import signal
import sys
import threading
from itertools import islice
from pathlib import Path

from mmengine.hooks import Hook

from dino_plugin.data.images.seeded_dataset import SeededDataset, preserved_random_state
from dino_plugin.doctor.before_training import (
    examine_experiments,
    examine_images,
    examine_network,
    examine_schedule,
)
from dino_plugin.doctor.findings import Finding
from dino_plugin.doctor.first_steps import FirstSteps
from dino_plugin.doctor.healthy_steps import judge_first_steps
from dino_plugin.doctor.rates import highest_rate
from dino_plugin.engine.training.model import SelfDistillationModel, unwrapped

BATCHES = 8  # that the experiments use


class Examined(SystemExit):
    """The examination is over; nothing was trained."""


class ExamineHook(Hook):
    """Looks at everything before training, then at its first steps, and ends it.

    Args:
        out: Folder of the pictures.
        steps: Of the real training; 0: none.
        experiments: Whether to train copies on one batch and by rising learning rates.

    Attributes:
        findings: What was found until now.
        pictures: Written.
    """

    priority = 'LOWEST'

    def __init__(self, out: Path, steps: int, experiments: bool) -> None:
        self.out, self.steps, self.experiments = out, steps, experiments
        self.findings: list[Finding] = []
        self.pictures: list[Path] = []
        self._seen: dict[str, int] = {}  # values of each scalar until now

    def before_train(self, runner) -> None:
        """All that needs no training.

        Raises:
            TypeError: If the config does not train by self-distillation.
            Examined: If no step is asked for.
        """
        if not isinstance(unwrapped(runner.model), SelfDistillationModel):
            raise TypeError('The doctor examines trainings of dino_plugin.SelfDistillationModel, and this is another.')
        _end_at_once_when_asked()
        with preserved_random_state(gpu=True):
            self._examine(runner)
        if not self.steps:
            raise Examined(0)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Note the numbers; end after the last step.

        Raises:
            Examined: After the last step.
        """
        scalars = {
            name.removeprefix('train/'): float(history.current())
            for name, history in runner.message_hub.log_scalars.items()
            if len(history.data[0]) > self._seen.get(name, 0)
        }
        self._seen = {name: len(history.data[0]) for name, history in runner.message_hub.log_scalars.items()}
        optimizer = runner.optim_wrapper.optimizer
        rate = max(group['lr'] for group in optimizer.param_groups) / (highest_rate(optimizer) or 1.0)
        self.first_steps.note(scalars, runner.iter / runner.max_iters, rate)
        if runner.iter + 1 >= min(self.steps, runner.max_iters):
            numbers = self.first_steps.numbers
            self.findings += judge_first_steps(numbers, runner.optim_wrapper.max_norm, runner.iter + 1)
            raise Examined(0)

    def _examine(self, runner) -> None:
        model, loader = unwrapped(runner.model), runner.train_loop.dataloader
        if isinstance(loader.dataset, SeededDataset):
            self._keep(examine_images(loader, model, self.out))
        self._keep(examine_schedule(runner, self.out))
        batches = [
            model.data_preprocessor(batch, True)['views']
            for batch in islice(loader, BATCHES if self.experiments else 1)
        ]
        self._keep(examine_network(model, runner.cfg, batches[0]))
        if self.experiments:
            self._keep(
                examine_experiments(model.distillation, batches, highest_rate(runner.optim_wrapper.optimizer), self.out)
            )
        self.first_steps = FirstSteps(model.distillation, batches[0].global_views.shape[:2].numel())

    def _keep(self, found: tuple[list[Finding], list[Path]]) -> None:
        findings, pictures = found
        self.findings += findings
        self.pictures += pictures


def _end_at_once_when_asked() -> None:
    """Nothing has to be saved, so the program does not go on to the end of a step, as a training does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        signal.signal(signal.SIGINT, signal.default_int_handler)
