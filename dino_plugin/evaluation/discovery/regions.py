"""Regions of patches: the connected component of a seed, its pixels and its box."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dino_plugin.evaluation.objects.boxes import Boxes, boxes_around

MAX_PATCHES = 16384  # whose similarities in float64 take 2 GiB


class Region(NamedTuple):
    """An object that was found.

    Args:
        mask: Its patches.
        seed: Row and column of the patch that it was found by.
    """

    mask: Bool[np.ndarray, 'rows columns']
    seed: tuple[int, int]


def flattened(patches: Float[Tensor, 'rows columns dim']) -> Float[Tensor, 'patches dim']:
    """Features of all patches in one list, after a check.

    Raises:
        ValueError: If a feature is infinite or no number, or there are too few or too many patches.
    """
    rows, columns = patches.shape[:2]
    if not 2 <= rows * columns <= MAX_PATCHES:
        raise ValueError(
            f'{rows} x {columns} patches: objects are looked for among 2 to {MAX_PATCHES} patches. Give images of '
            'another size, by short_side.'
        )
    if not torch.isfinite(patches).all():
        raise ValueError('The features of patches have nan or infinite values: check the weights and the precision.')
    patches = patches.cpu() if patches.device.type == 'mps' else patches  # which has no float64
    return patches.flatten(0, 1)


def region_of(seed: int, foreground: Bool[np.ndarray, 'rows columns']) -> Region:
    """The part of the foreground that is connected with the seed; patches are neighbours if they share an edge.

    Args:
        seed: Its place among the patches, row by row; it has to be in the foreground.
        foreground: Where objects are.
    """
    row, column = divmod(seed, foreground.shape[1])
    assert foreground[row, column]
    _, parts = cv2.connectedComponents(foreground.astype(np.uint8), connectivity=4)
    return Region(parts == parts[row, column], (row, column))


def enlarged(
    masks: Bool[np.ndarray, 'masks rows columns'], cell: tuple[float, float], size: tuple[int, int]
) -> Bool[np.ndarray, 'masks height width']:
    """Masks of pixels: each takes the value of the patch that its centre is in.

    Args:
        masks: On patches.
        cell: Rows and columns of pixels of a patch; not whole numbers where the image was resized.
        size: Rows and columns of the image, which may end within the last patches.
    """
    places = [
        ((np.arange(length) + 0.5) / step).astype(int).clip(max=number - 1)
        for length, step, number in zip(size, cell, masks.shape[1:])
    ]
    return masks[:, places[0][:, None], places[1]]


def boxes_of_patches(
    masks: Bool[np.ndarray, 'masks rows columns'], cell: tuple[float, float], size: tuple[int, int]
) -> Boxes:
    """The boxes around masks of patches, in pixels, cut at the edges of the image; arguments as of `enlarged`."""
    rows, columns = size
    boxes = boxes_around(masks) * [cell[1], cell[0], cell[1], cell[0]]
    return boxes.clip(0, [columns, rows, columns, rows])
