"""A map of one image's object against its mask: F-beta at every threshold, intersection over union, accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

BETA_SQUARED = 0.3  # precision counts more than recall
NUM_THRESHOLDS = 255


class ImageSaliency(NamedTuple):
    """Scores of one image, as shares.

    Args:
        f_beta: For each threshold 0, 1/255, 2/255 … 254/255.
        iou: Intersection over union of the pixels above 0.5.
        accuracy: Share of the pixels that are right at the threshold 0.5.
    """

    f_beta: Float[np.ndarray, ' thresholds']
    iou: float
    accuracy: float


class Saliency(NamedTuple):
    """Means over images, as shares; `max_f` is the largest mean over all thresholds."""

    max_f: float
    iou: float
    accuracy: float


def image_saliency(
    found: Float[np.ndarray, 'rows columns'],
    truth: Bool[np.ndarray, 'rows columns'],
    void: Bool[np.ndarray, 'rows columns'] | None = None,
) -> ImageSaliency:
    """Scores of a map.

    F = (1 + b) precision recall / (b precision + recall), b = 0.3;  0 if both are 0

    The mask at a threshold is where the map is above it. Without a pixel in it the precision is 1, without one in the
    truth the recall is 1, and the intersection over union of two empty masks is 1.

    Args:
        found: In [0, 1]; a mask is a map of zeros and ones.
        truth: The object, or all objects together.
        void: Pixels that do not count.

    Raises:
        ValueError: If the map is outside its range or no number.

    References:
        Achanta et al. 2009, Frequency-tuned Salient Region Detection; conventions of YangtaoWANG95/TokenCut,
        unsupervised_saliency_detection/metric.py, where two empty masks give 0 / 0.
    """
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError('The map of an object lies in [0, 1], but has other values, or is no number somewhere.')
    counted = slice(None) if void is None else ~void
    found, truth = found[counted].ravel(), truth[counted].ravel()
    thresholds = np.arange(NUM_THRESHOLDS) / NUM_THRESHOLDS
    # How many thresholds a pixel is above says in which of the masks it is.
    levels = np.searchsorted(thresholds, found, side='left')
    above, true_above = (
        np.bincount(chosen, minlength=NUM_THRESHOLDS + 1)[::-1].cumsum()[::-1][1:] for chosen in (levels, levels[truth])
    )
    total = np.count_nonzero(truth)
    precision = np.divide(true_above, above, out=np.ones(NUM_THRESHOLDS), where=above > 0)
    recall = true_above / total if total else np.ones(NUM_THRESHOLDS)
    below = BETA_SQUARED * precision + recall
    f_beta = np.divide((1 + BETA_SQUARED) * precision * recall, below, out=np.zeros_like(below), where=below > 0)
    mask = found > 0.5
    union = np.count_nonzero(mask | truth)
    iou = np.count_nonzero(mask & truth) / union if union else 1.0
    return ImageSaliency(f_beta, float(iou), float((mask == truth).mean()) if len(truth) else 1.0)


def mean_saliency(scores: Sequence[ImageSaliency]) -> Saliency:
    """Means over the images; F-beta at the threshold that is best for all of them together.

    Raises:
        ValueError: If there is no image.
    """
    if not scores:
        raise ValueError('There is no image with a mask: saliency has nothing to compare with.')
    f_beta, iou, accuracy = (np.mean(values, axis=0) for values in zip(*scores))
    return Saliency(float(f_beta.max()), float(iou), float(accuracy))
