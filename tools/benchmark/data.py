"""Image files -> a batch of their views, all that a worker does: Pillow and torchvision against ours."""

import argparse
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.datasets.folder import pil_loader

from benchmark.pillow_views import mean_error
from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.data.collate import multi_crop_collate
from dino_plugin.data.images.decoding import decode_image
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackViews
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.crop_boxes import NUM_GLOBAL, Box, reduced_box
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS

BUNDLED = Path(__file__).resolve().parents[2] / 'tests/data/davis/JPEGImages/480p'
SCALES = dict(global_scale=(0.4, 1.0), local_scale=(0.05, 0.4))
SPLITS = dict(
    worker='ours: everything in the worker',
    device='ours: colours are left to the device',
    decode='ours: resizing and colours are left to the device',
)
LEAST_REDUCTION = 2  # as in configs/_base_/datasets/imagenet_multi-crop.py
NUM_CHECKED = 8  # images, view by view
NUM_COMPARED = 32  # images whose statistics are compared, some of them several times where there are fewer


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Check the views, then time whole pipelines, and decoding alone, which no split avoids."""
    paths = image_paths(options)
    chunks = [[paths[i % len(paths)] for i in range(n, n + options.chunk)] for n in range(0, len(paths), options.chunk)]
    crops = {split: MultiCropTransform(num_local=options.num_local, split=split, **SCALES) for split in SPLITS}
    works: dict[str, tuple[Callable, str]] = {}
    if reference:
        plain = reference.main_dino.DataAugmentationDINO(*SCALES.values(), options.num_local)
        works['reference'] = (
            lambda chunk: default_collate([plain(pil_loader(path)) for path in chunk]),
            'its DataAugmentationDINO, on Pillow',
        )
        _check_recipe(report, plain, crops['worker'].multi_crop, paths)
    load = LoadImage(least_reduction=LEAST_REDUCTION)
    for split, note in SPLITS.items():
        _check_views(report, split, load, crops[split], paths)
        works[split] = partial(_batch, load, crops[split]), note
    works['whole'] = partial(_batch, LoadImage(), crops['worker']), 'everything in the worker, decoded whole'
    works['limit'] = lambda chunk: [decode_image(Path(path).read_bytes()) for path in chunk], 'decoding alone, whole'
    candidates = [
        Candidate(name, lambda number, work=work: work(chunks[number % len(chunks)]), note, options.chunk)
        for name, (work, note) in works.items()
    ]
    report.compare('data', 'Image files to batches of views', 'image', candidates)


def image_paths(options: argparse.Namespace) -> list[str]:
    """All images of the folder, in an order that is random and always the same.

    Raises:
        SystemExit: If there is none.
    """
    folder = Path(options.images or BUNDLED)
    paths = find_images(str(folder))[0] if folder.is_dir() else []
    if not paths:
        raise SystemExit(f'No images below {folder}: give a folder that holds some as --images.')
    random.Random(0).shuffle(paths)
    return paths


def _batch(load: LoadImage, crop: MultiCropTransform, paths: Sequence[str]) -> object:
    """The steps of a worker's pipeline, then its collate function."""
    pack = PackViews()
    return multi_crop_collate([pack.transform(crop.transform(load.transform(dict(img_path=path)))) for path in paths])


def _check_views(
    report: Report, split: str, load: LoadImage, transform: MultiCropTransform, paths: Sequence[str]
) -> None:
    """The finished views against Pillow's with the same parameters: within one grey level, mean absolute.

    Boxes of an image that is decoded smaller are rounded to its pixels; so are those that Pillow cuts out of the whole.
    """
    errors, reductions, crop = [], [], transform.multi_crop
    for path in paths[:NUM_CHECKED]:
        image = decode_image(Path(path).read_bytes())
        drawn = list(crop.draw(*image.shape[:2]))
        crop.draw = lambda *_, drawn=drawn: iter(drawn)
        pixels, _ = crop.prepare(load(dict(img_path=path))['img'])
        views = ViewPreprocessor()(_batch(load, transform, [path]))['views']
        del crop.draw
        reductions.append(round(len(image) / len(pixels)))
        rounded = [view._replace(box=_rounded(view.box, image.shape, reductions[-1])) for view in drawn]
        blocks = [block for block in (views.global_views, views.local_views) if block is not None]
        levels = [_levels(view).permute(1, 2, 0).numpy() for block in blocks for view in block[:, 0]]
        errors += mean_error(image, rounded, levels)
    mean, most = float(np.mean(errors)), max(errors)
    detail = f'from Pillow, same parameters: {mean:.2f} grey levels, worst view {most:.2f}; decoded at 1 / {reductions}'
    report.check(split, mean < 1, detail)


def _rounded(box: Box, shape: Sequence[int], reduction: int) -> Box:
    return Box(*(reduction * number for number in reduced_box(box, *shape[:2], reduction)))


def _check_recipe(report: Report, plain: Callable, crop: Callable, paths: Sequence[str]) -> None:
    """Level, contrast and sharpness of both sides' views, image by image: the same within five standard errors."""
    differences = []
    for number in range(NUM_COMPARED):
        image = pil_loader(paths[number % len(paths)])
        theirs, ours = plain(image), crop(image)
        if [view.shape for view in theirs] != [view.shape for view in ours]:
            report.check('worker', False, f'the reference gives views of {sorted({tuple(v.shape) for v in theirs})}')
            return
        differences.append(_statistics(theirs) - _statistics(ours))
    gaps = torch.stack(differences)
    most = float((gaps.mean(dim=0).abs() / (gaps.std(dim=0) / len(gaps) ** 0.5)).max())
    detail = f"level, contrast, sharpness of the reference's own views: {most:.1f} standard errors away"
    report.check('worker', most < 5, detail)


def _statistics(views: Sequence[Tensor]) -> Tensor:
    """Means over the global and over the local views of one image, in grey levels."""
    found = [torch.stack([v.mean(), v.std(), v.diff(dim=-1).abs().mean()]) for v in map(_levels, views)]
    return torch.cat([torch.stack(part).mean(dim=0) for part in (found[:NUM_GLOBAL], found[NUM_GLOBAL:]) if part])


def _levels(view: Tensor) -> Tensor:
    """Normalised -> grey levels, ``3 rows columns``."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS))
    return view * std + mean
