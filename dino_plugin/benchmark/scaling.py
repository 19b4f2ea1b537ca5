"""How our throughput and memory grow with the batch, local views, image size, workers of the data and processes."""

import argparse
import copy
import os
import zlib
from functools import partial

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from dino_plugin.benchmark.harness import Candidate, Comparison, median
from dino_plugin.benchmark.images import BUNDLED
from dino_plugin.benchmark.networks import CONFIG, OurStep, random_views
from dino_plugin.benchmark.processes import time_in_processes
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.benchmark.step import in_gib, step_candidate
from dino_plugin.openmmlab.config_files import config_path

# Name of an axis: the option of a step that it changes, and what is tried on a CPU and on a GPU.
STEP_AXES = {
    'batch': ('batch', [1, 2, 4], [16, 32, 64, 128]),
    'local-views': ('num_local', [0, 4, 8], [0, 4, 8, 16]),
    'image-size': ('global_size', [96, 160, 224], [160, 224, 320, 448]),
}


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """One table for each axis; nothing here has a counterpart in the reference."""
    if options.points and len(options.axes) != 1:
        raise SystemExit(f'--points are those of one axis, not of {len(options.axes)}: choose one with --axes.')
    for axis in options.axes:
        points = options.points or usual_points(axis, options.device)
        if axis in STEP_AXES:
            _scale_step(options, report, axis, points)
        elif axis == 'workers':
            _scale_workers(options, report, points)
        else:
            _scale_processes(options, report, points)


def usual_points(axis: str, device: str) -> list[int]:
    """What is tried on an axis: no more workers than cores, and no more processes than GPUs."""
    if axis in STEP_AXES:
        return STEP_AXES[axis][1 if device == 'cpu' else 2]
    if axis == 'workers':
        return [number for number in (0, 1, 2, 4, 8, 16, 32) if number <= (os.cpu_count() or 1)]
    return [1, 2] if device == 'cpu' else [number for number in (1, 2, 4, 8) if number <= torch.cuda.device_count()]


def _scale_step(options: argparse.Namespace, report: Report, axis: str, points: list[int]) -> None:
    memory: dict[str, int] = {}
    candidates = []
    for point in points:
        sizes = copy.copy(options)
        setattr(sizes, STEP_AXES[axis][0], point)
        sizes.local_size = min(sizes.local_size, sizes.global_size)
        build = partial(
            OurStep, sizes, options.model, options.precision, options.device, compile_blocks=options.compile_blocks
        )
        candidates.append(step_candidate(f'{axis}={point}', build, random_views(sizes), '', sizes, memory))
    clock = 'cpu' if options.device == 'cpu' else 'wall'
    _compare(report, axis, candidates, clock, memory)


def _scale_workers(options: argparse.Namespace, report: Report, points: list[int]) -> None:
    """Whole samples, from the files to batches in the main process; the views must not depend on the workers."""
    loaders = {point: _loader(options, point) for point in points}
    found = {point: _checksums(loader) for point, loader in loaders.items()}
    same = all(sums == found[points[0]] for sums in found.values())
    report.check('workers', same, f'{len(found[points[0]])} batches, the same views with {points} workers')

    def consume(loader: DataLoader, _: int) -> None:
        for _batch in loader:
            pass

    candidates = [
        Candidate(f'workers={point}', partial(consume, loader), units=len(loader.dataset))
        for point, loader in loaders.items()
    ]
    _compare(report, 'workers', candidates, 'wall', {})


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


def _checksums(loader: DataLoader) -> list[int]:
    """Of the pixels of each batch: of its views, or of the images that they are cut from later."""
    sums = []
    for views in loader:
        images = views.unfinished and views.unfinished.images
        sums.append(zlib.crc32((images.pixels if images else views.global_views).contiguous().numpy()))
    return sums


def _scale_processes(options: argparse.Namespace, report: Report, points: list[int]) -> None:
    """Each process has a whole batch: twice as many images a second with two processes is all there is to win."""
    first = f'processes={points[0]}'
    group = Comparison('By processes', 'image', clock='wall', baseline=first, section='relative')
    report.comparisons.append(group)
    for point in points:
        name = f'processes={point}'
        timings, same = time_in_processes(options, point)
        group.candidates = [*group.candidates, Candidate(name, print, units=point * options.batch)]
        group.timings[name] = timings
        report.check('processes', same, f'the same weights in {point} processes')
    _note_rates(report, 'processes', group, {})


def _compare(report: Report, axis: str, candidates: list[Candidate], clock: str, memory: dict[str, int]) -> None:
    """The points of one axis in turn; how many times as fast, for each image, as the first point."""
    first = candidates[0].name
    fields = dict(unit='image', clock=clock, baseline=first, section='relative')
    _note_rates(report, axis, report.compare(f'By {axis}', candidates, report.options.device, **fields), memory)


def _note_rates(report: Report, axis: str, group: Comparison, memory: dict[str, int]) -> None:
    """Images a second at each point, and memory of the axes of a step."""
    rows = report.extra.setdefault('axes', {}).setdefault(axis, [])
    for candidate in group.candidates:
        name = candidate.name
        rate = 1 / median(group.seconds(name))
        rows.append(
            dict(
                point=int(name.partition('=')[2]), images_per_second=rate, **in_gib(name, memory, report.options.device)
            )
        )
