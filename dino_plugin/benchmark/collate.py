"""Samples of two workers -> one stacked batch in the main process: ten float views against two blocks of bytes."""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dino_plugin.benchmark.harness import Candidate, median
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.data.collate import multi_crop_collate
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS


class Samples(Dataset):
    """Views that are ready, a new copy of them at each call: what is measured is their way to the main process."""

    def __init__(self, views: list[Tensor], as_list: bool, length: int) -> None:
        self.views = views
        self.as_list = as_list
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        copies = [view.clone() for view in self.views]
        return (copies, 0) if self.as_list else tuple(copies)


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Three ways for the same pixels; time on the wall, and what the main process computes meanwhile."""
    _allow_many_files()
    blocks = [torch.randint(0, 256, (2, options.global_size, options.global_size, 3), dtype=torch.uint8)]
    if options.num_local:
        shape = options.num_local, options.local_size, options.local_size, 3
        blocks.append(torch.randint(0, 256, shape, dtype=torch.uint8))
    floats = [normalised(view) for block in blocks for view in block]
    loaders = dict(
        pseudo_collate=(_loader(options, floats, True, pseudo_collate), _stack),
        default_collate=(_loader(options, floats, True, default_collate), lambda batch: batch[0]),
        collate=(_loader(options, blocks, False, multi_crop_collate), lambda batch: batch),
    )
    notes = dict(
        pseudo_collate="ten float views, mmengine's default collate function, stacked in the main process",
        default_collate="ten float views, torch's collate function in the worker, as in facebookresearch/dino",
        collate='ours: two blocks of bytes, stacked in the worker',
    )
    _check(report, floats, next(iter(loaders['collate'][0])), next(iter(loaders['pseudo_collate'][0])))
    units = options.batch * options.batches
    candidates = [Candidate(name, _consume(*loaders[name]), note, units) for name, note in notes.items()]
    title = 'From the workers to a batch'
    group = report.compare(title, candidates, unit='image', clock='wall', baseline='pseudo_collate')
    report.extra['main_process_seconds'] = {name: median(group.seconds(name, 'cpu')) for name in notes}
    report.extra['main_process_ratios'] = {name: median(group.ratios(name, 'cpu')) for name in notes}
    milliseconds = (f'{name} {1000 * value:.3g}' for name, value in report.extra['main_process_seconds'].items())
    report.say(f'The main process computes, in milliseconds an image: {", ".join(milliseconds)}')


def normalised(view: Tensor) -> Tensor:
    """uint8 ``rows columns 3`` -> float ``3 rows columns``, as torchvision's ToTensor and Normalize give it."""
    pixels = view.permute(2, 0, 1).contiguous().float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS))
    return (pixels - mean) / std


def _loader(options: argparse.Namespace, views: list[Tensor], as_list: bool, collate: Callable) -> DataLoader:
    samples = Samples(views, as_list, options.batch * options.batches)
    workers = options.workers
    return DataLoader(samples, options.batch, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate)


def _stack(batch: Any) -> list[Tensor]:
    """What mmengine leaves to the main process: of each view, its images."""
    return [torch.stack(view) for view in batch[0]]


def _consume(loader: DataLoader, finish: Callable) -> Callable[[int], None]:
    def run_epoch(_: int) -> None:
        for batch in loader:
            finish(batch)

    return run_epoch


def _check(report: Report, floats: list[Tensor], ours: Any, theirs: Any) -> None:
    """Both ways end in the same normalised views."""
    views = ViewPreprocessor()(ours)['views']
    blocks = [views.global_views] if views.local_views is None else [views.global_views, views.local_views]
    pairs = list(zip((view for block in blocks for view in block), _stack(theirs)))
    gap = max(float((a - b).abs().max()) for a, b in pairs)
    whole = len(pairs) == len(floats) and all(a.shape == b.shape for a, b in pairs)
    report.check('collate', whole and gap < 1e-5, f'{len(pairs)} stacked views, largest difference {gap:.1e}')


def _allow_many_files() -> None:
    """Each tensor on its way is an open file: three hundred in a batch of views that nobody has stacked."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
