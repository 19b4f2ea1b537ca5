"""Balanced sampling: equal shares for the clusters of a level, as far as they have images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from dino_plugin.curation.hierarchy import Level, places_in_groups, sizes_of_levels


def balanced_shares(
    sizes: Int[np.ndarray, ' groups'], target: int, random: np.random.Generator
) -> Int[np.ndarray, ' groups']:
    """How many each group gives: min(limit, size), with the limit for which the sum is the target.

    The limit is a whole number; what is then left to the target goes, one each, to groups that have more, at random.

    Args:
        sizes: How many each group has; 0 is allowed.
        target: At most the sum of the sizes.
        random: Of the remainder.

    Raises:
        ValueError: If the groups have fewer than the target.
    """
    if target > sizes.sum():
        raise ValueError(f'{target} images are asked for, but there are {int(sizes.sum())}.')
    low, high = 0, int(sizes.max(initial=0))  # the sum is at most the target at low
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= target else (low, middle - 1)
    shares = np.minimum(sizes, low)
    larger = np.flatnonzero(sizes > low)
    shares[random.choice(larger, target - shares.sum(), replace=False)] += 1
    return shares


def balanced_sample(
    levels: Sequence[Level], target: int, seed: int = 0, nearest_first: bool = False, repeats: int = 1
) -> Int[np.ndarray, ' images']:
    """How often each image is taken: 0 or 1, or up to `repeats`.

    From the top, the number of images of a cluster is shared among its clusters of the level below by
    `balanced_shares`, down to images.

    Args:
        levels: As from `hierarchical_kmeans`.
        target: Images to take, in all.
        seed: Of all that is random.
        nearest_first: Take the images nearest to the centre of their cluster; otherwise random ones.
        repeats: How often an image may be taken at most. Images of a small cluster are then taken several times, each
            once before one is taken twice.

    Raises:
        ValueError: If there are fewer images than asked for, repeats included.

    References:
        Vo et al. 2024, arXiv:2405.15613, section 3.3.
    """
    random = np.random.default_rng(seed)
    sizes = [repeats * size for size in sizes_of_levels(levels)]
    shares = balanced_shares(sizes[-1], target, random)
    for level, below in zip(levels[:0:-1], sizes[-2::-1]):
        parents = level.cluster.numpy()
        members = np.argsort(parents, kind='stable')
        ends = np.cumsum(np.bincount(parents, minlength=len(shares)))
        of_children = np.zeros(len(parents), int)
        for children, share in zip(np.split(members, ends[:-1]), shares):
            of_children[children] = balanced_shares(below[children], int(share), random)
        shares = of_children
    return _taken(levels[0], shares, random, nearest_first)


def _taken(
    level: Level, shares: Int[np.ndarray, ' clusters'], random: np.random.Generator, nearest_first: bool
) -> Int[np.ndarray, ' images']:
    cluster = level.cluster.numpy()
    rank = level.distance.numpy() if nearest_first else random.random(len(cluster))
    order = np.lexsort((rank, cluster))
    sizes = np.bincount(cluster, minlength=len(shares)).clip(min=1)
    rounds, rest = np.divmod(shares, sizes)
    of_cluster = cluster[order]
    taken = np.empty(len(cluster), int)
    taken[order] = rounds[of_cluster] + (places_in_groups(of_cluster) < rest[of_cluster])
    return taken
