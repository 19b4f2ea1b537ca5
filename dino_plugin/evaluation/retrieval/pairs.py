"""The most similar pairs among many images: near-duplicates."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.evaluation.nearest import unit_features
from dino_plugin.evaluation.retrieval.index import indexed_nearest

ROWS = 1024
ROUNDING = 1e-6  # may be missing from the cosine of equal images


class Pairs(NamedTuple):
    """Pairs of images by their numbers, most similar first; `first` is the smaller number."""

    first: Int[Tensor, ' pairs']
    second: Int[Tensor, ' pairs']
    similarity: Float[Tensor, ' pairs']


def closest_pairs(
    features: Float[Tensor, 'images dim'], most: int = 100, threshold: float | int = -1.0, rows: int = ROWS
) -> Pairs:
    """The pairs with the largest cosines, exactly. Every pair is compared, blocks of them at a time.

    Args:
        features: One vector an image.
        most: Number of pairs at most.
        threshold: Only pairs that are at least so similar, from -1 to 1.
        rows: Images at a time, which decides the memory alone.

    Raises:
        ValueError: If there are fewer than two images, `most` is below 1, the threshold is no cosine, or features are
            not finite.
    """
    _check(features, most, threshold)
    unit = unit_features(features, 'images')
    found = Pairs(*(torch.zeros(0, dtype=dtype, device=unit.device) for dtype in (torch.long, torch.long, unit.dtype)))
    least = float(threshold) - ROUNDING
    for top in range(0, len(unit), rows):
        for left in range(top, len(unit), rows):
            with torch.autocast(unit.device.type, enabled=False):
                cosines = unit[top : top + rows] @ unit[left : left + rows].T
            wanted = cosines >= least
            if top == left:
                wanted = wanted.triu(diagonal=1)
            first, second = wanted.nonzero(as_tuple=True)
            found = _best(found, Pairs(first + top, second + left, cosines[first, second]), most)
            if len(found.similarity) == most:
                least = float(found.similarity[-1])
    return found


def indexed_pairs(
    features: Float[Tensor, 'images dim'],
    most: int = 100,
    threshold: float | int = -1.0,
    index: str = 'ivf',
    neighbours: int = 10,
) -> Pairs:
    """As `closest_pairs`, for millions of images: only pairs in which one image is among the nearest of the other.

    Args:
        features: As in `closest_pairs`, like `most` and `threshold`.
        index: As in `indexed_nearest`.
        neighbours: Nearest images of each image that are looked at.

    Raises:
        ValueError, ImportError: As in `closest_pairs` and `indexed_nearest`.
    """
    _check(features, most, threshold)
    if neighbours < 1:
        raise ValueError(f'At least one neighbour must be looked at, got neighbours={neighbours}.')
    similarities, numbers = indexed_nearest(features, features, min(neighbours + 1, len(features)), index)
    own = torch.arange(len(features), device=numbers.device)[:, None].expand_as(numbers)
    wanted = (numbers >= 0) & (numbers != own) & (similarities >= threshold - ROUNDING)
    pairs = torch.stack([torch.minimum(own, numbers)[wanted], torch.maximum(own, numbers)[wanted]])
    unique, places = pairs.unique(dim=1, return_inverse=True)
    best = similarities.new_empty(unique.shape[1]).scatter_(0, places, similarities[wanted])
    return _best(Pairs(unique[0], unique[1], best), Pairs(unique[0, :0], unique[1, :0], best[:0]), most)


def _check(features: Float[Tensor, 'images dim'], most: int, threshold: float | int) -> None:
    if len(features) < 2:
        raise ValueError(f'Pairs need at least two images, got {len(features)}.')
    if most < 1:
        raise ValueError(f'At least one pair must be asked for, got most={most}.')
    if not -1 <= threshold <= 1:
        raise ValueError(f'threshold is a cosine from -1 to 1, got {threshold}.')


def _best(pairs: Pairs, others: Pairs, most: int) -> Pairs:
    """Of equally similar pairs the ones with the smallest numbers."""
    first, second, similarity = (torch.cat(parts) for parts in zip(pairs, others))
    order = second.argsort(stable=True)
    order = order[first[order].argsort(stable=True)]
    order = order[similarity[order].argsort(descending=True, stable=True)][:most]
    return Pairs(first[order], second[order], similarity[order])
