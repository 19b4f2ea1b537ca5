"""Samples of two workers -> one stacked batch in the main process: ten float views against two blocks of bytes."""

import argparse
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import multi_crop_collate
from dino_plugin.data.preprocessor import ViewPreprocessor

WORKERS = 2


class Samples(Dataset):
    """Views that are ready, a new copy of them at each call: what is measured is their way to the main process."""

    def __init__(self, views: list[Tensor], length: int) -> None:
        self.views = views
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(view.clone() for view in self.views)


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Two ways for the same pixels; time on the wall."""
    _allow_many_files()
    sizes = [(2, options.global_size), (options.num_local, options.local_size)]
    blocks = [torch.randint(0, 256, (views, size, size, 3), dtype=torch.uint8) for views, size in sizes if views]
    floats = flat_views(ViewPreprocessor()(multi_crop_collate([tuple(blocks)]))['views'])
    mmengines = _loader(options, [view[0] for view in floats], pseudo_collate)
    ours = _loader(options, blocks, multi_crop_collate)
    _check(report, next(iter(ours)), _stack(next(iter(mmengines))))
    units = options.batch * options.batches
    candidates = [
        Candidate(
            'pseudo_collate', lambda _: deque(map(_stack, mmengines), maxlen=0),
            "ten float views, mmengine's default collate function, stacked in the main process", units,
        ),
        Candidate('collate', lambda _: deque(ours, maxlen=0), 'two blocks of bytes, stacked in the worker', units),
    ]  # fmt: skip
    report.compare('collate', 'From the workers to a batch', 'image', candidates, clock='wall')


def flat_views(views: ViewBatch) -> list[Tensor]:
    """Each view by itself, ``batch 3 rows columns``, global ones first."""
    return [view for block in (views.global_views, views.local_views) if block is not None for view in block]


def _loader(options: argparse.Namespace, views: list[Tensor], collate: Callable) -> DataLoader:
    samples = Samples(views, options.batch * options.batches)
    return DataLoader(samples, options.batch, num_workers=WORKERS, persistent_workers=True, collate_fn=collate)


def _stack(batch: Any) -> list[Tensor]:
    """What mmengine leaves to the main process: of each view, its images."""
    return [torch.stack(list(view)) for view in batch]


def _check(report: Report, ours: Any, theirs: list[Tensor]) -> None:
    """Both ways end in the same normalised views."""
    views = flat_views(ViewPreprocessor()(ours)['views'])
    whole = [view.shape for view in views] == [view.shape for view in theirs]
    gap = max(float((a - b).abs().max()) for a, b in zip(views, theirs)) if whole else float('inf')
    report.check('collate', gap < 1e-5, f'{len(views)} stacked views, largest difference {gap:.1e}')


def _allow_many_files() -> None:
    """Each tensor on its way is an open file: three hundred in a batch of views that nobody has stacked."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
