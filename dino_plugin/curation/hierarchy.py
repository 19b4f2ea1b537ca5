"""Hierarchical k-means: clusters of images, clusters of these clusters, and so on."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.curation.kmeans import Assignment, assign, kmeans
from dino_plugin.curation.rows import Rows


class Level(NamedTuple):
    """Clusters of one level.

    Attributes:
        centres: Of its clusters.
        cluster: The cluster of each point of the level below; points of the first level are images.
        distance: Squared, of these points to their centres.
    """

    centres: Float[Tensor, 'clusters dim']
    cluster: Int[Tensor, ' points']
    distance: Float[Tensor, ' points']


def hierarchical_kmeans(
    rows: Rows,
    clusters: Sequence[int],
    iterations: int = 50,
    resamples: int = 10,
    seed: int = 0,
    folder: Path | None = None,
) -> list[Level]:
    """k-means of the rows, then of its centres, and so on: the first levels follow the density of the images, which the
    next ones make flatter, level by level.

    From the second level on, k-means is repeated `resamples` times on the points that lie nearest to each centre alone,
    half as many as a cluster has on average: dense clusters then weigh no more than thin ones.

    Args:
        rows: One for each image.
        clusters: Number of clusters of each level, falling.
        iterations: Of each k-means.
        resamples: As above.
        seed: Of the first centres.
        folder: Keeps the state of unfinished k-means, see `kmeans`.

    Raises:
        ValueError: If the numbers of clusters do not fall, or as `kmeans`.

    References:
        Vo et al. 2024, arXiv:2405.15613, "Automatic data curation for self-supervised learning", section 3.
    """
    refuse_rising(len(rows), clusters)
    levels: list[Level] = []
    points = rows
    for number, k in enumerate(clusters, 1):
        state = None if folder is None else folder / f'kmeans_{number}.safetensors'
        centres = kmeans(points, k, iterations, seed + number, state)
        found = assign(points, centres)
        for _ in range(resamples if number > 1 else 0):
            if len(found.cluster.unique()) < k:  # empty clusters: fewer points than centres might be left
                break
            typical = nearest_members(found, len(points) // (2 * k))
            centres = kmeans(points.subset(typical), k, iterations, seed + number)
            found = assign(points, centres)
        levels.append(Level(centres, *found))
        points = Rows([centres.cpu().numpy()], device=rows.device, chunk=rows.chunk, name='clusters')
    return levels


def refuse_rising(images: int, clusters: Sequence[int]) -> None:
    """Raise a ValueError if there are not fewer clusters than images, or a level has not fewer than the one below."""
    counts = [images, *clusters]
    if not clusters or any(above >= below for below, above in pairwise(counts)) or min(clusters) < 1:
        raise ValueError(
            f'{images} images in {list(clusters)} clusters: each level needs fewer clusters than the one before has, '
            'the first one fewer than there are images. Give smaller numbers, or more images.'
        )


def nearest_members(found: Assignment, number: int) -> Int[np.ndarray, ' chosen']:
    """The points nearest to each centre, so many of each cluster (at least 1), ascending."""
    order = np.lexsort((found.distance.numpy(), found.cluster.numpy()))
    return np.sort(order[places_in_groups(found.cluster.numpy()[order]) < max(1, number)])


def places_in_groups(groups: Int[np.ndarray, ' points']) -> Int[np.ndarray, ' points']:
    """0, 1, 2 ... within each run of equal numbers: 3 3 5 5 5 -> 0 1 0 1 2."""
    if len(groups) == 0:
        return np.zeros(0, int)
    begins = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.arange(len(groups)) - np.repeat(begins, np.diff(np.r_[begins, len(groups)]))


def sizes_of_levels(levels: Sequence[Level]) -> list[Int[np.ndarray, ' clusters']]:
    """Number of images in each cluster of each level; empty clusters have 0."""
    sizes, weights = [], None
    for level in levels:
        counted = np.bincount(level.cluster.numpy(), weights, minlength=len(level.centres)).astype(int)
        sizes.append(counted)
        weights = counted
    return sizes


def empty_clusters(levels: Sequence[Level]) -> int:
    """How many clusters of all levels have no image."""
    return sum(int((sizes == 0).sum()) for sizes in sizes_of_levels(levels))


def clusters_of_images(levels: Sequence[Level]) -> Int[np.ndarray, ' images']:
    """The cluster of the last level that each image is in."""
    cluster = levels[0].cluster
    for level in levels[1:]:
        cluster = level.cluster[cluster]
    return cluster.numpy()
