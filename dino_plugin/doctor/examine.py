"""One training that is not trained: its runner is built, looked at, and stopped after some steps."""

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from dino_plugin.commands.training import training_runner
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.images.seeded_dataset import SeededDataset, preserved_random_state
from dino_plugin.doctor.findings import Finding
from dino_plugin.doctor.images import judge_images, look_at_images
from dino_plugin.doctor.learning import (
    judge_first_steps,
    judge_overfit,
    judge_range,
    overfit,
    range_of,
    rising_rates,
)
from dino_plugin.doctor.network import judge_network, look_at_network
from dino_plugin.doctor.pictures import draw_learning, draw_schedule
from dino_plugin.doctor.schedule import curves_of, judge_schedule, temperatures
from dino_plugin.engine.training.model import SelfDistillationModel, unwrapped
from dino_plugin.evaluation.progress import progress
from dino_plugin.visualization.contact_sheet import save_image, views_of_sample, views_sheet

STEPS = 60  # of each experiment on a copy
BATCHES = 8  # that they use
RATES = (1e-6, 10.0)  # learning rates that are tried
_LOGGED = ('loss', 'grad_norm', 'effective_rank', 'feature_std', 'data_time', 'time')


class Examined(SystemExit):
    """The examination is over; nothing was trained."""


class ExamineHook(Hook):
    """Looks at everything before training, then at its first steps, and ends it.

    Args:
        out: Folder of the pictures.
        steps: Of the real training; 0: none.
        experiments: Whether to train copies on one batch and by rising learning rates.
    """

    priority = 'LOWEST'

    def __init__(self, out: Path, steps: int, experiments: bool) -> None:
        self.out, self.steps, self.experiments = out, steps, experiments
        self.findings: list[Finding] = []
        self.pictures: list[Path] = []
        self._numbers: dict[str, list[float]] = {}

    def before_train(self, runner) -> None:
        """All that needs no training.

        Raises:
            TypeError: If the config does not train by self-distillation.
            Examined: If no step is asked for.
        """
        if not isinstance(unwrapped(runner.model), SelfDistillationModel):
            raise TypeError('The doctor examines trainings of dino_plugin.SelfDistillationModel, and this is another.')
        with preserved_random_state(gpu=True):
            self._examine(runner)
        if not self.steps:
            raise Examined(0)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Note the numbers; end after the last step.

        Raises:
            Examined: After the last step.
        """
        hub = runner.message_hub
        for name in hub.log_scalars:
            short = name.removeprefix('train/')
            if short in _LOGGED or short.endswith('target_information'):
                self._numbers.setdefault(short, []).append(float(hub.get_scalar(name).current()))
        if runner.iter + 1 >= min(self.steps, runner.max_iters):
            self.findings += judge_first_steps(self._numbers, runner.optim_wrapper.max_norm, runner.iter + 1)
            raise Examined(0)

    def _examine(self, runner) -> None:
        cfg, model = runner.cfg, unwrapped(runner.model)
        distillation, loader = model.distillation, runner.train_loop.dataloader
        rate = max(group['lr'] for group in runner.optim_wrapper.optimizer.param_groups)
        rate = max(rate, max(group.get('initial_lr', 0) for group in runner.optim_wrapper.optimizer.param_groups))
        dataset = loader.dataset
        if isinstance(dataset, SeededDataset):
            self.pictures.append(Path(save_image(views_sheet(dataset, 6), str(self.out / 'views.png'))))
            self._images(dataset, loader.batch_size, model)
        curves = curves_of(distillation, cfg, rate)
        frozen = {
            'backbone': runner.optim_wrapper.freeze_backbone,
            'last layer': runner.optim_wrapper.freeze_last_layer,
        }
        self.findings += judge_schedule(curves, runner.max_iters, frozen, temperatures(distillation.losses.items()))
        self.pictures.append(draw_schedule(curves, runner.max_iters, self.out / 'schedule.png'))
        batches = [self._views(model, batch) for batch in islice(loader, BATCHES if self.experiments else 1)]
        backbone = distillation.student.backbone
        released = bool(cfg.model.backbone.get('checkpoint') or cfg.model.backbone.get('pretrained'))
        self.findings += judge_network(look_at_network(backbone, batches[0].global_views), released)
        if self.experiments:
            losses = overfit(distillation, batches[0], rate, STEPS, progress)
            rates, rising = rising_rates(distillation, batches, *RATES, STEPS, progress)
            found = range_of(rates, rising)
            self.findings += [*judge_overfit(losses), *judge_range(found, rate)]
            self.pictures.append(draw_learning(losses, rates, rising, rate, self.out / 'learning.png'))

    def _images(self, dataset: SeededDataset, batch: int, model: SelfDistillationModel) -> None:
        paths = [dataset.path_of(index) for index in range(dataset.num_images)]
        if not Path(paths[0]).is_file():
            self.findings.append(Finding('notice', 'images', 'the data set names no files: they were not looked at'))
            return
        preprocessor = model.data_preprocessor
        mean, std = preprocessor.mean.flatten().tolist(), preprocessor.std.flatten().tolist()
        side = min(views_of_sample(dataset[(0, 0)])[0].shape[:2])
        self.findings += judge_images(look_at_images(paths), batch, side, mean, std)

    def _views(self, model: SelfDistillationModel, batch: Any) -> ViewBatch:
        return model.data_preprocessor(batch, True)['views']


def examine(cfg: Config, out: Path, steps: int, experiments: bool) -> ExamineHook:
    """What the hook found.

    Args:
        cfg: Of a training, with a working directory of its own; changed in place.
        out: Folder of the pictures.
        steps: Of the real training.
        experiments: As in `ExamineHook`.
    """
    out.mkdir(parents=True, exist_ok=True)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if 'Evaluation' not in hook.type
                        and not hook.type.endswith(('KNNHook', 'GuardHook', 'PicturesHook'))]  # fmt: skip
    for hook in cfg.custom_hooks:
        if hook.type.endswith('CollapseMonitorHook'):
            hook.interval = max(1, steps // 5)
    for name in ('pictures', 'capture'):
        cfg.default_hooks.pop(name, None)
    cfg.default_hooks.update(checkpoint=None, logger=None)
    cfg.merge_from_dict({'resume': False, 'load_from': cfg.get('load_from'), 'visualizer.vis_backends': []})
    runner = training_runner(cfg)
    hook = ExamineHook(out, steps, experiments)
    runner.register_hook(hook)
    torch.manual_seed(0)
    with suppress(Examined):
        runner.train()
    return hook
