"""MaskCut: TokenCut again and again, without the patches of the objects that were found."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dino_plugin.evaluation.discovery.normalised_cut import alike, peak, second_eigenvector
from dino_plugin.evaluation.discovery.regions import Region, flattened, region_of

LEAST_SHARE = 0.01  # of the patches, for objects after the first
MOST_OVERLAP = 0.5  # intersection over union with the object before


def mask_cut(patches: Float[Tensor, 'rows columns dim'], threshold: float = 0.15, num_objects: int = 3) -> list[Region]:
    """Several objects, by one normalised cut after another. Their masks do not overlap.

    Each cut is TokenCut's, but a side that has three or four corners of the image is background. Then the features of
    the object's patches become zeros, so that they are like no patch. A later object is dropped if it has one per cent
    of the patches or less, or overlaps with the one before by more than a half. As in the authors' code, the round
    after that finds it again and keeps what no object has: it has nothing to compare with.

    Args:
        patches: Keys of the last block in the paper, of an image of 480 x 480 pixels.
        threshold: As in `alike`.
        num_objects: Most objects that are looked for.

    Returns:
        The objects in the order in which they were found; none if all patches are alike, or none are.

    Raises:
        ValueError: If features are not finite, there are too few or too many patches, no object is asked for, or the
            threshold is outside its range.

    References:
        Wang et al. 2023, arXiv:2301.11320, section 3.2; facebookresearch/CutLER, maskcut/maskcut.py. There the sign of
        the eigenvector, which is arbitrary, decides in some cases; here its largest value is positive.
    """
    if num_objects < 1:
        raise ValueError(f'mask_cut: num_objects is at least 1, got {num_objects}.')
    features = flattened(patches)
    found: list[Region] = []
    taken = last = np.zeros(patches.shape[:2], dtype=bool)
    for number in range(num_objects):
        free = torch.from_numpy(~taken.ravel()).to(features.device)
        vector = second_eigenvector(alike(features * free[:, None], threshold))
        if vector is None:
            break
        region = _object_side(vector, patches.shape[:2])
        if number and region.mask.mean() <= LEAST_SHARE:
            break  # the next rounds find the same
        if number and _overlap(region.mask, last) > MOST_OVERLAP:
            last = np.zeros_like(last)
            continue
        if (region.mask & ~taken).any():
            found.append(Region(region.mask & ~taken, region.seed))
        taken, last = taken | region.mask, region.mask
    return found


def _object_side(vector: Float[np.ndarray, ' patches'], grid: tuple[int, ...]) -> Region:
    foreground = (vector > vector.mean()).reshape(grid)
    corners = int(foreground[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    if corners >= 3:
        return region_of(peak(-vector), ~foreground)
    return region_of(peak(vector), foreground)


def _overlap(one: Bool[np.ndarray, 'rows columns'], other: Bool[np.ndarray, 'rows columns']) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)
