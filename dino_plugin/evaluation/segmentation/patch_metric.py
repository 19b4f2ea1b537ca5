"""Segmentation without training, as mmengine metrics."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.evaluation.segmentation.patch_classifiers import (
    KS,
    STRENGTHS,
    TEMPERATURES,
    ChosenPatches,
    PatchBank,
    choose_knn,
    choose_logistic,
)
from dino_plugin.evaluation.segmentation.patch_labels import class_ious, confusion, mean_iou

CLASS_CHUNK = 16  # classes that are enlarged at once; it decides only the memory


def enlarged_labels(
    probabilities: Float[Tensor, 'rows columns classes'], size: tuple[int, int]
) -> UInt8[np.ndarray, 'mask_rows mask_columns']:
    """The most probable class of each pixel, after bilinear enlargement of the probabilities of patches.

    The grid lies over the whole image. Of equally probable classes the smallest is taken.

    Args:
        probabilities: Of each class at each patch; any scores that may be averaged.
        size: Rows and columns of pixels.
    """
    maps = probabilities.permute(2, 0, 1)[None]
    best, labels = None, None
    for start in range(0, maps.shape[1], CLASS_CHUNK):
        part = interpolate(maps[:, start : start + CLASS_CHUNK], size, mode='bilinear', align_corners=False)[0]
        found, places = part.max(dim=0)
        if best is None:
            best, labels = found, places
        else:
            larger = found > best
            best, labels = torch.where(larger, found, best), torch.where(larger, places + start, labels)
    return labels.cpu().numpy().astype(np.uint8)


class _PatchMetric(BaseMetric, ABC):
    """mIoU and accuracy of pixels of whole images, from a classifier of patches that `PatchTestLoop` has fitted.

    Predictions are those of `PatchExtractor`: `patches` and the `mask` of an image.
    """

    def __init__(self) -> None:
        super().__init__(collect_device='gpu')  # by communication between the processes, not by files
        self.chosen: ChosenPatches | None = None

    @abstractmethod
    def choose(self, bank: PatchBank) -> ChosenPatches:
        """The fitted classifier."""

    def fit(self, bank: PatchBank) -> None:
        """Choose and fit the classifier; each process does the same."""
        self.chosen = self.choose(bank)
        tried = ', '.join(
            f'{" ".join(f"{value:g}" for value in setting)}: {score:.1f}'
            for setting, score in self.chosen.held_out_miou.items()
        )
        best = ', '.join(f'{name} {value:g}' for name, value in self.chosen.setting.items())
        print_log(f'{self.prefix}: {best} is the best on held-out images (mIoU of patches: {tried}).', 'current')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each image.

        Raises:
            ValueError: If no bank was fitted, or features are not finite.
        """
        if self.chosen is None:
            raise ValueError(
                f"{type(self).__name__} has no labelled patches: set test_cfg=dict(type='dino_plugin.PatchTestLoop', "
                'bank_dataloader=dict(...)).'
            )
        for sample in data_samples:
            grid, mask = sample['patches'].shape[:2], sample['mask']
            if not sample['patches'].isfinite().all():
                raise ValueError(f'Features of {sample["name"]} hold NaN or infinity: did training diverge?')
            probabilities = self.chosen.predict(sample['patches'].flatten(0, 1)).unflatten(0, grid)
            self.results.append(confusion(mask, enlarged_labels(probabilities, mask.shape)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """`miou`, `accuracy`, the setting that was chosen and the number of classes."""
        counts = sum(results)
        miou, ious = mean_iou(counts), class_ious(counts)
        print_log(
            f'{self.prefix}: IoU of each label { ({label: round(iou, 1) for label, iou in ious.items()}) }', 'current'
        )
        accuracy = 100 * float(counts.trace() / counts.sum())
        return dict(miou=miou, accuracy=accuracy, classes=len(ious), **self.chosen.setting)


class PatchKNNMetric(_PatchMetric):
    """`choose_knn`: `patch_knn/miou`, `patch_knn/accuracy`, and k and temperature that were chosen.

    Args:
        ks: Numbers of neighbours to choose from.
        temperatures: To choose from.
        seed: Of the held-out images.

    Raises:
        ValueError: When it evaluates, as in `choose_knn`, or if no pixel has a label.
    """

    default_prefix = 'patch_knn'

    def __init__(self, ks: Sequence[int] = KS, temperatures: Sequence[float] = TEMPERATURES, seed: int = 0) -> None:
        super().__init__()
        self.ks, self.temperatures, self.seed = tuple(ks), tuple(temperatures), seed

    def choose(self, bank: PatchBank) -> ChosenPatches:
        """By `choose_knn`."""
        return choose_knn(bank, self.ks, self.temperatures, self.seed)


class PatchLogisticMetric(_PatchMetric):
    """`choose_logistic`: `patch_logistic/miou`, `patch_logistic/accuracy`, and C that was chosen.

    Args:
        strengths: Values of C to choose from.
        max_iterations: Of L-BFGS, for each C.
        seed: Of the held-out images.

    Raises:
        ValueError: When it evaluates, as in `choose_logistic`, or if no pixel has a label.
    """

    default_prefix = 'patch_logistic'

    def __init__(self, strengths: Sequence[float] = STRENGTHS, max_iterations: int = 300, seed: int = 0) -> None:
        super().__init__()
        self.strengths, self.max_iterations, self.seed = tuple(strengths), max_iterations, seed

    def choose(self, bank: PatchBank) -> ChosenPatches:
        """By `choose_logistic`."""
        return choose_logistic(bank, self.strengths, self.max_iterations, self.seed)
