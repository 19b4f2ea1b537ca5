"""Depth of images as an mmengine metric."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from dino_plugin.evaluation.depth.errors import ALIGNMENTS, CROPS, aligned, counted_pixels, depth_errors

FAR_APART = 20  # times: no network is so wrong in the median, but units are


class DepthMetric(BaseMetric):
    """Errors of predicted depths, of each image by itself, then averaged over images.

    Predictions are clamped to the range that counts. An image without a pixel that counts is left out, and told.
    In contrast to mmsegmentation's metric of this name: KITTI's crop, crops that follow the size of the image,
    alignment to another camera, a prediction of 0 is no NaN, and `silog` is 100 times a standard deviation.

    Args:
        min_depth: Smallest depth in metres that counts.
        max_depth: Largest.
        crop: 'eigen' (NYU), 'garg' (KITTI), or None.
        alignment: 'none', 'scale', or 'scale and shift': see `aligned`.

    Raises:
        ValueError: If an argument is unknown or the range is empty; when it computes, if no image has a pixel that
            counts.

    References:
        Eigen et al. 2014, arXiv:1406.2283; Garg et al. 2016, arXiv:1603.04992.
    """

    default_prefix = 'depth'

    def __init__(
        self, min_depth: float = 1e-3, max_depth: float = 10.0, crop: str | None = None, alignment: str = 'none'
    ) -> None:
        super().__init__(collect_device='gpu')  # by communication between the processes, not by files
        if not 0 < min_depth < max_depth:
            raise ValueError(
                f'DepthMetric: 0 < min_depth < max_depth expected, got {min_depth} and {max_depth} metres.'
            )
        if crop not in (None, *CROPS):
            raise ValueError(f'DepthMetric: crop={crop!r} is unknown; use one of {list(CROPS)}, or None.')
        if alignment not in ALIGNMENTS:
            raise ValueError(f'DepthMetric: alignment={alignment!r} is unknown; use one of {list(ALIGNMENTS)}.')
        self.range, self.crop, self.alignment = (min_depth, max_depth), crop, alignment

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure each image; a prediction has the size of its ground truth."""
        for sample in data_samples:
            truth = sample['gt_depth_map']['data'].squeeze(0).float().cpu()
            predicted = sample['pred_depth_map']['data'].squeeze(0).float().cpu()
            counted = counted_pixels(truth, *self.range, self.crop)
            if not counted.any():
                self.results.append(dict(left_out=sample.get('img_path', '?')))
                continue
            truth = truth[counted]
            predicted = aligned(predicted[counted], truth, self.alignment).clamp(*self.range)
            ratio = (predicted.median() / truth.median()).item()
            self.results.append(dict(errors=depth_errors(predicted, truth), ratio=ratio))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means over images."""
        left_out = [result['left_out'] for result in results if 'left_out' in result]
        measured = [result for result in results if 'errors' in result]
        low, high = self.range
        if left_out:
            print_log(
                f'{len(left_out)} of {len(results)} images have no pixel between {low} and {high} m that counts '
                f'(first: {left_out[0]}) and are left out.',
                logger='current',
                level=30,
            )
        if not measured:
            raise ValueError(
                f'No image has a pixel between {low} and {high} m: correct the unit of the depth files (dino_plugin.'
                'LoadDepth), or min_depth and max_depth.'
            )
        ratio = torch.tensor([result['ratio'] for result in measured]).median().item()
        if not 1 / FAR_APART < ratio < FAR_APART:
            print_log(
                f'In the median predictions are {ratio:.3g} times the truth: is the unit of the depth '
                'files (dino_plugin.LoadDepth) that of the training?',
                logger='current',
                level=30,
            )
        names = measured[0]['errors']
        return {name: sum(result['errors'][name] for result in measured) / len(measured) for name in names}
