"""How throughput and memory grow with batch, local views, image size and workers, and what memory options cost."""

import argparse
import copy
import importlib.util
import os
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial

from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from benchmark.data import BUNDLED
from benchmark.networks import CONFIG, OurStep, random_views
from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from benchmark.step import step_candidate
from benchmark.ways import with_memory
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.plan.live_bytes import LiveBytes

# Name of an axis: the option of a step that it changes, and what is tried on a CPU and on a GPU.
STEP_AXES = {
    'batch': ('batch', dict(cpu=[1, 2, 4], cuda=[16, 32, 64, 128])),
    'local-views': ('num_local', dict(cpu=[0, 4, 8], cuda=[0, 4, 8, 16])),
    'image-size': ('global_size', dict(cpu=[96, 160, 224], cuda=[160, 224, 320, 448])),
}
OF_BACKBONE = {
    'plain': {},
    'products kept': dict(gradient_checkpointing='all but products'),
    'recomputed': dict(gradient_checkpointing=True),
    'float8': dict(float8=True),
}


def run(options: argparse.Namespace, report: Report, _: Reference | None) -> None:
    """One table for each axis; nothing here has a counterpart in the reference."""
    for axis in options.axes:
        if axis == 'workers':
            _scale_workers(options, report)
        elif axis == 'memory':
            _compare_memory(options, report)
        else:
            _scale_step(axis, options, report)


def _scale_step(axis: str, options: argparse.Namespace, report: Report) -> None:
    changed, points = STEP_AXES[axis]
    candidates = []
    for point in points[options.device]:
        sizes = copy.copy(options)
        setattr(sizes, changed, point)
        sizes.local_size = min(sizes.local_size, sizes.global_size)
        build = partial(OurStep, sizes, options.precision)
        candidates.append(step_candidate(str(point), build, random_views(sizes), '', sizes))
    report.compare(axis, f'By {axis}', 'image', candidates)


def _compare_memory(options: argparse.Namespace, report: Report) -> None:
    """Options of the backbone that trade time, memory and precision; float8 only with torchao."""
    views, candidates = random_views(options), []
    for name, option in OF_BACKBONE.items():
        if name != 'float8' or importlib.util.find_spec('torchao'):
            step = partial(OurStep(options, options.precision, **option), views)
            step()  # makes the states of the optimiser
            memory = _peak(step, options.device)
            candidates.append(Candidate(name, lambda _, step=step: step(), '', options.batch, memory))
    report.compare('memory', 'By option of the backbone', 'image', candidates)


def _peak(step: Callable[[], None], device: str) -> int:
    """Most bytes at a time; what autograd keeps says little of a pass that computes activations again."""
    if device == 'cuda':
        return with_memory(step, device)[1]
    with LiveBytes([]) as memory:
        step()
    return memory.peak


def _scale_workers(options: argparse.Namespace, report: Report) -> None:
    """Whole samples, from the files to batches in the main process; the views must not depend on the workers.

    No more workers than cores.
    """
    points = [number for number in (0, 1, 2, 4, 8, 16, 32) if number <= (os.cpu_count() or 1)]
    loaders = [_loader(options, point) for point in points]
    found = [list(map(_checksum, loader)) for loader in loaders]
    detail = f'{len(found[0])} batches, the same views with {points} workers'
    report.check('workers', all(sums == found[0] for sums in found), detail)
    candidates = [
        Candidate(str(point), lambda _, loader=loader: deque(loader, maxlen=0), units=len(loader.dataset))
        for point, loader in zip(points, loaders)
    ]
    report.compare('workers', 'By workers', 'image', candidates, clock='wall')


def _loader(options: argparse.Namespace, workers: int) -> DataLoader:
    """That of our config, with other sizes and few images."""
    config = Config.fromfile(config_path(CONFIG)).train_dataloader
    config.update(
        batch_size=max(options.batch, 8), num_workers=workers, persistent_workers=workers > 0, drop_last=False,
        pin_memory=options.device == 'cuda',
    )  # fmt: skip
    images = config.dataset.dataset
    images.update(data_root=options.images or str(BUNDLED), indices=options.num_images)
    sizes = dict(global_size=options.global_size, local_size=options.local_size, num_local=options.num_local)
    next(step for step in images.pipeline if step.type.endswith('MultiCrop')).update(sizes)
    return Runner.build_dataloader(config, seed=0)


def _checksum(views) -> int:
    """Of the pixels of a batch: of its views, or of the images that they are cut from later."""
    images = views.unfinished and views.unfinished.images
    return zlib.crc32((images.pixels if images else views.global_views).contiguous().numpy())
