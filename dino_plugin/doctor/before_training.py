"""What can be said before training: each part gives findings and pictures."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from mmengine.config import Config
from torch.utils.data import DataLoader

from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.doctor.experiments import judge_overfit, judge_range, overfit, range_of, rising_rates
from dino_plugin.doctor.findings import Finding
from dino_plugin.doctor.images import judge_images, judge_released_normalisation, look_at_images
from dino_plugin.doctor.network import judge_network, look_at_network
from dino_plugin.doctor.pictures import draw_learning, draw_schedule
from dino_plugin.doctor.schedule import curves_of, judge_rates, judge_schedule, temperatures
from dino_plugin.doctor.views import judge_grid, judge_order, judge_views
from dino_plugin.engine.training.model import SelfDistillationModel, unwrapped
from dino_plugin.evaluation.progress import progress
from dino_plugin.visualization.contact_sheet import save_image, views_of_sample, views_sheet

STEPS = 60  # of each experiment
RATES = (1e-6, 10.0)  # learning rates that are tried
Found = tuple[list[Finding], list[Path]]


def examine_images(loader: DataLoader, model: SelfDistillationModel, out: Path) -> Found:
    """Files, their order, and a contact sheet of views."""
    dataset = loader.dataset
    assert isinstance(dataset, SeededDataset)
    pictures = [Path(save_image(views_sheet(dataset, 6), str(out / 'views.png')))]
    keys = islice(iter(loader.sampler), loader.batch_size or 1)
    findings = judge_order([key[0] if isinstance(key, tuple) else key for key in keys])
    paths = [dataset.path_of(index) for index in range(dataset.num_images)]
    if not Path(paths[0]).is_file():
        said = Finding('notice', 'images', 'the data set names no files: they were not looked at')
        return [*findings, said], pictures
    side = min(views_of_sample(dataset[(0, 0)])[0].shape[:2])
    return [*findings, *judge_images(look_at_images(paths), loader.batch_size, side, *normalisation(model))], pictures


def examine_schedule(runner, out: Path) -> Found:
    """All that changes over the training, and the learning rates of the parts."""
    optim_wrapper, distillation = runner.optim_wrapper, unwrapped(runner.model).distillation
    curves = curves_of(distillation, runner.cfg, highest_rate(runner))
    frozen = {'backbone': optim_wrapper.freeze_backbone, 'last layer': optim_wrapper.freeze_last_layer}
    findings = judge_schedule(curves, runner.max_iters, frozen, temperatures(distillation.losses.items()))
    findings += judge_rates(optim_wrapper.optimizer.param_groups)
    return findings, [draw_schedule(curves, runner.max_iters, out / 'schedule.png')]


def examine_network(model: SelfDistillationModel, cfg: Config, views: ViewBatch) -> Found:
    """The network on a batch, and whether the batch fits it."""
    backbone = model.distillation.student.backbone
    released = bool(cfg.model.backbone.get('checkpoint') or cfg.model.backbone.get('pretrained'))
    findings = [*judge_views(views), *judge_grid(backbone, views)]
    if released:
        trained_with = getattr(getattr(backbone, 'model', None), 'pretrained_cfg', None) or {}
        findings += judge_released_normalisation(*normalisation(model), trained_with)
    return [*findings, *judge_network(look_at_network(backbone, views.global_views), released)], []


def examine_experiments(distillation: SelfDistillation, batches: Sequence[ViewBatch], rate: float, out: Path) -> Found:
    """Copies that train on one batch, and by rising learning rates."""
    losses = overfit(distillation, batches[0], rate, STEPS, progress)
    rates, rising = rising_rates(distillation, batches, *RATES, STEPS, progress)
    findings = [*judge_overfit(losses), *judge_range(range_of(rates, rising), rate)]
    return findings, [draw_learning(losses, rates, rising, rate, out / 'learning.png')]


def highest_rate(runner) -> float:
    """Of all groups, after the warm-up."""
    return max(max(group['lr'], group.get('initial_lr', 0)) for group in runner.optim_wrapper.optimizer.param_groups)


def normalisation(model: SelfDistillationModel) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels, in levels."""
    return model.data_preprocessor.mean.flatten().tolist(), model.data_preprocessor.std.flatten().tolist()
