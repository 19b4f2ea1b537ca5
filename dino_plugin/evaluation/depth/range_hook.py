"""Depths of the files, compared with the range of decoder and metric before the work begins."""

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import print_log

from dino_plugin.evaluation.depth.bins import DepthFromBins
from dino_plugin.evaluation.depth.data import DepthDataset
from dino_plugin.evaluation.depth.metric import DepthMetric

WORTH_TELLING = 0.1  # of all measured pixels


class DepthRangeHook(Hook):
    """Compares depths that `DepthDataset` has read with the range of the decoder and of the metric.

    Before training: images to learn with the bins of `DepthFromBins`, images to validate with `DepthMetric`. Before a
    test: its images with the metric. A decoder cannot say a depth beyond its last bin, the metric leaves such pixels
    out. More than a tenth beyond is told in the log.

    Raises:
        ValueError: If no depth lies within the range, with the cure.
    """

    def before_train(self, runner) -> None:
        """Images to learn, and those to validate."""
        for decoder in (part for part in runner.model.modules() if isinstance(part, DepthFromBins)):
            ends = float(decoder.bins[0]), float(decoder.bins[-1])
            _compare(runner.train_loop.dataloader.dataset, ends, 'train_dataloader', 'model.decode_head')
        if runner.val_loop is not None:
            _compare_with_metrics(runner.val_loop.dataloader.dataset, runner.val_loop.evaluator, 'val')

    def before_test(self, runner) -> None:
        """Images to test."""
        _compare_with_metrics(runner.test_loop.dataloader.dataset, runner.test_loop.evaluator, 'test')


def _compare_with_metrics(dataset: BaseDataset, evaluator: Evaluator, split: str) -> None:
    for metric in evaluator.metrics:
        if isinstance(metric, DepthMetric):
            _compare(dataset, metric.range, f'{split}_dataloader', f'{split}_evaluator')


def _compare(dataset: BaseDataset, ends: tuple[float, float], files: str, owner: str) -> None:
    parts = [part for part in getattr(dataset, 'datasets', [dataset]) if isinstance(part, DepthDataset)]
    depths = np.concatenate([part.depths_read for part in parts] or [np.empty(0)])
    beyond = np.mean((depths <= ends[0]) | (depths >= ends[1])) if len(depths) else 0
    if beyond <= WORTH_TELLING:
        return
    text = (
        f'of the depths of {files} that were read lie between {ends[0]:g} and {ends[1]:g} m, the range of {owner}: '
        f'they are {depths.min():.4g} to {depths.max():.4g} m, in the median {np.median(depths):.4g} m. If that is '
        'wrong, correct dino_plugin.LoadDepth(unit=...) in the pipelines, 0.001 for millimetres; if it is right, set '
        'max_depth of model.decode_head, val_evaluator and test_evaluator.'
    )
    if beyond == 1:
        raise ValueError(f'None {text}')
    print_log(f'Only {1 - beyond:.0%} {text}', logger='current', level=30)
