"""What can be said before training: each part gives findings and pictures."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size
from torch.utils.data import DataLoader

from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.doctor.colours import judge_colours, look_at_colours
from dino_plugin.doctor.crops import crops_of, judge_crops, look_at_crops
from dino_plugin.doctor.experiments import judge_overfit, judge_range, overfit, range_of, rising_rates
from dino_plugin.doctor.findings import Finding
from dino_plugin.doctor.images import judge_images, look_at_images
from dino_plugin.doctor.network import judge_heads, judge_network, look_at_network
from dino_plugin.doctor.normalisation import judge_released_normalisation
from dino_plugin.doctor.pictures import draw_learning, draw_schedule
from dino_plugin.doctor.rates import highest_rate, judge_rates, judge_size
from dino_plugin.doctor.schedule import curves_of, judge_schedule, temperatures
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
    findings += judge_colours(look_at_colours(loader, model.data_preprocessor))
    for crop in crops_of(dataset.dataset):
        findings += judge_crops(*look_at_crops(crop, paths))
    side = min(views_of_sample(dataset[(0, 0)])[0].shape[:2])
    return [*findings, *judge_images(look_at_images(paths), loader.batch_size, side, *normalisation(model))], pictures


def examine_schedule(runner, out: Path) -> Found:
    """All that changes over the training, and the learning rates of the parts."""
    optim_wrapper, distillation = runner.optim_wrapper, unwrapped(runner.model).distillation
    curves = curves_of(distillation, runner.cfg, highest_rate(optim_wrapper.optimizer))
    frozen = {'backbone': optim_wrapper.freeze_backbone, 'last layer': optim_wrapper.freeze_last_layer}
    findings = judge_schedule(curves, runner.max_iters, frozen, temperatures(distillation.losses.items()))
    optimizer, batches = optim_wrapper.optimizer, get_world_size() * optim_wrapper._accumulative_counts
    batch = (runner.train_loop.dataloader.batch_size or 1) * batches
    findings += [*judge_rates(optimizer.param_groups), *judge_size(optimizer, batch, starts_trained(runner.cfg))]
    return findings, [draw_schedule(curves, runner.max_iters, out / 'schedule.png')]


def examine_network(model: SelfDistillationModel, cfg: Config, views: ViewBatch) -> Found:
    """The network on a batch, and whether the batch fits it."""
    student, released = model.distillation.student, starts_trained(cfg)
    backbone = student.backbone
    findings = [*judge_views(views), *judge_grid(backbone, views), *judge_heads(student.heads.items())]
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


def starts_trained(cfg: Config) -> bool:
    """Whether the network starts from trained weights."""
    return bool(cfg.model.backbone.get('checkpoint') or cfg.model.backbone.get('pretrained'))


def normalisation(model: SelfDistillationModel) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels, in levels."""
    return model.data_preprocessor.mean.flatten().tolist(), model.data_preprocessor.std.flatten().tolist()
