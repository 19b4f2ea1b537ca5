"""Image files -> a batch of their views, all that a worker does: Pillow and torchvision against ours."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.datasets.folder import pil_loader

from dino_plugin.benchmark.harness import Candidate
from dino_plugin.benchmark.images import image_paths
from dino_plugin.benchmark.pillow_views import mean_error
from dino_plugin.benchmark.profile import RECIPE, profile
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.data.collate import multi_crop_collate
from dino_plugin.data.images.decoding import decode_image
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackViews
from dino_plugin.data.multi_crop import NUM_GLOBAL, MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS

SPLITS = dict(
    worker='everything in the worker',
    device='colours are left to the device',
    decode='resizing and colours are left to the device',
)
NUM_CHECKED = 8  # images, view by view
NUM_COMPARED = 32  # images whose statistics are compared, some of them several times where there are fewer


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Check the views, then time whole pipelines, then their parts."""
    paths = image_paths(options)
    chunks = [[paths[i % len(paths)] for i in range(n, n + options.chunk)] for n in range(0, len(paths), options.chunk)]

    def batches(load: Callable[[str], object], collate: Callable[[list], object]) -> Callable[[int], object]:
        return lambda number: collate([load(path) for path in chunks[number % len(chunks)]])

    candidates = []
    if reference:
        plain = reference.module('main_dino').DataAugmentationDINO((0.4, 1), (0.05, 0.4), options.num_local)
        work = batches(lambda path: plain(pil_loader(path)), default_collate)
        candidates.append(Candidate('reference', work, 'its DataAugmentationDINO, on Pillow', options.chunk))
        _check_recipe(report, plain, paths, options.num_local)
    for split, note in SPLITS.items():
        pipeline = worker_pipeline(options.num_local, split)
        _check_views(report, split, paths, options.num_local)
        work = batches(pipeline, multi_crop_collate)
        candidates.append(Candidate(split, work, f'ours: {note}', options.chunk))
    report.compare('Image files to batches of views', candidates, unit='image', baseline='reference')
    profile(report, chunks, options.num_local)


def worker_pipeline(num_local: int, split: str) -> Callable[[str], object]:
    """Path -> what goes to the collate function."""
    return in_turn(MultiCropTransform(num_local=num_local, split=split, **RECIPE))


def in_turn(multi_crop: MultiCropTransform) -> Callable[[str], object]:
    """The steps of a worker's pipeline as one function."""
    steps = [LoadImage(), multi_crop, PackViews()]

    def load(path: str) -> object:
        results = dict(img_path=path)
        for step in steps:
            results = step.transform(results)
        return results

    return load


def _check_views(report: Report, split: str, paths: Sequence[str], num_local: int) -> None:
    """The finished views against Pillow's with the same parameters: within one grey level, mean absolute."""
    errors = []
    for path in paths[:NUM_CHECKED]:
        image = decode_image(Path(path).read_bytes())
        transform = MultiCropTransform(num_local=num_local, split=split, **RECIPE)
        drawn = list(transform.multi_crop.draw(*image.shape[:2]))
        transform.multi_crop.draw = lambda *_, drawn=drawn: iter(drawn)
        pipeline = in_turn(transform)
        views = ViewPreprocessor()(multi_crop_collate([pipeline(path)]))['views']
        blocks = [block for block in (views.global_views, views.local_views) if block is not None]
        levels = [_levels(view).permute(1, 2, 0).numpy() for block in blocks for view in block[:, 0]]
        errors += mean_error(image, drawn, levels)
    mean, most = float(np.mean(errors)), max(errors)
    report.check(
        split, mean < 1, f'from Pillow with the same parameters: {mean:.2f} grey levels, worst view {most:.2f}'
    )


def _check_recipe(report: Report, plain: Callable, paths: Sequence[str], num_local: int) -> None:
    """Level, contrast and sharpness of both sides' views, image by image: the same within five standard errors."""
    crop = MultiCrop(num_local=num_local, **RECIPE)
    differences = []
    for number in range(NUM_COMPARED):
        image = pil_loader(paths[number % len(paths)])
        theirs, ours = plain(image), crop(image)
        if [view.shape for view in theirs] != [view.shape for view in ours]:
            report.check('worker', False, f'the reference gives views of {sorted({tuple(v.shape) for v in theirs})}')
            return
        differences.append(_statistics(theirs) - _statistics(ours))
    gaps = torch.stack(differences)
    errors = gaps.mean(dim=0).abs() / (gaps.std(dim=0) / len(gaps) ** 0.5)
    report.check(
        'worker',
        bool((errors < 5).all()),
        f"level, contrast, sharpness of the reference's own views: {float(errors.max()):.1f} standard errors away",
    )


def _statistics(views: Sequence[Tensor]) -> Tensor:
    """Means over the global and over the local views of one image, in grey levels."""
    found = []
    for levels in map(_levels, views):
        found.append(torch.stack([levels.mean(), levels.std(), levels.diff(dim=-1).abs().mean()]))
    kinds = [torch.stack(part).mean(dim=0) for part in (found[:NUM_GLOBAL], found[NUM_GLOBAL:]) if part]
    return torch.cat(kinds)


def _levels(view: Tensor) -> Tensor:
    """Normalised -> grey levels, ``3 rows columns``."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS))
    return view * std + mean
