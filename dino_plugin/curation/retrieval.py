"""Images like those that somebody chose: the nearest of each, or some of their clusters."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.curation.hierarchy import Level, places_in_groups
from dino_plugin.curation.kmeans import assign
from dino_plugin.curation.rows import Rows
from dino_plugin.curation.search import search


def nearest_of_seeds(rows: Rows, seeds: Rows, k: int, index: Path | None = None) -> Int[np.ndarray, ' found']:
    """The k nearest rows of each seed, each once, ascending: for many seeds. All processes call it.

    Args:
        rows: Of length 1.
        seeds: Of length 1.
        k: At least 1.
        index: As in `search`.

    References:
        Oquab et al. 2023, arXiv:2304.07193, section 3: 4 nearest images.
    """
    parts = [found.number.flatten() for found in search(rows, seeds, k, index)]
    numbers = torch.cat(parts or [torch.zeros(0, dtype=torch.long)]).to(rows.device)
    numbers = np.unique(gather_over_ranks(numbers).cpu().numpy())
    return numbers[numbers >= 0]


def clusters_of_seeds(
    level: Level, seeds: Rows, per_cluster: int, least: int = 1, seed: int = 0
) -> Int[np.ndarray, ' found']:
    """Random images of each cluster that has seeds, ascending: for few seeds. All processes call it.

    Args:
        level: Clusters of the images.
        seeds: Of length 1.
        per_cluster: Images of each such cluster, at most all it has.
        least: Seeds that a cluster needs.
        seed: Of the choice.

    References:
        Oquab et al. 2023, arXiv:2304.07193, section 3.
    """
    counts = np.bincount(assign(seeds, level.centres).cluster.numpy(), minlength=len(level.centres))
    cluster = level.cluster.numpy()
    order = np.lexsort((np.random.default_rng(seed).random(len(cluster)), cluster))
    wanted = (counts[cluster[order]] >= least) & (places_in_groups(cluster[order]) < per_cluster)
    return np.sort(order[wanted])
