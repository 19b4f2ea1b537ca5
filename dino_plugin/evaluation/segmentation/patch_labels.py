"""The label of each patch, from the mask of its image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8

VOID = 255  # pixels and patches without a label


def without_ignored(
    mask: UInt8[np.ndarray, 'rows columns'], ignored: Sequence[int]
) -> UInt8[np.ndarray, 'rows columns']:
    """The mask with `VOID` in place of these labels."""
    return np.where(np.isin(mask, ignored), np.uint8(VOID), mask)


def patch_labels(
    mask: UInt8[np.ndarray, 'mask_rows mask_columns'], grid: tuple[int, int]
) -> UInt8[np.ndarray, 'rows columns']:
    """The label that most pixels of a patch have; of equally many, the smallest.

    A pixel belongs to the patch that covers its centre when the grid is laid over the whole mask. A patch with one
    pixel of `VOID`, or without any pixel since the mask is smaller than the grid, gets `VOID`.

    Args:
        mask: A label for each pixel.
        grid: Rows and columns of patches.
    """
    cells = [(2 * np.arange(length) + 1) * number // (2 * length) for length, number in zip(mask.shape, grid)]
    cell = cells[0][:, None] * grid[1] + cells[1]
    size = grid[0] * grid[1]
    counts = np.bincount((cell * 256 + mask).ravel(), minlength=size * 256).reshape(*grid, 256)
    usable = (counts[..., VOID] == 0) & counts.any(axis=-1)
    return np.where(usable, counts.argmax(axis=-1), VOID).astype(np.uint8)


def confusion(
    mask: UInt8[np.ndarray, '*shape'], predicted: UInt8[np.ndarray, '*shape']
) -> Integer[np.ndarray, '256 256']:
    """How many places of each label (rows) were given each label (columns); those of `VOID` do not count."""
    labelled = mask != VOID
    pairs = mask[labelled].astype(np.int64) * 256 + predicted[labelled]
    return np.bincount(pairs, minlength=256 * 256).reshape(256, 256)


def class_ious(counts: Integer[np.ndarray, '256 256']) -> dict[int, float]:
    """Intersection over union of each label that occurs in the masks or the predictions, in percent.

    Args:
        counts: Sum of `confusion` over all images.
    """
    both = counts.diagonal()
    union = counts.sum(axis=0) + counts.sum(axis=1) - both
    return {int(label): 100 * float(both[label] / union[label]) for label in np.flatnonzero(union)}


def mean_iou(counts: Integer[np.ndarray, '256 256']) -> float:
    """Mean of `class_ious`, in percent.

    Raises:
        ValueError: If no place has a label.
    """
    if not counts.any():
        raise ValueError('No pixel has a label: are all labels ignored, or is this the wrong folder of masks?')
    ious = class_ious(counts)
    return sum(ious.values()) / len(ious)
