"""Near-duplicates: pairs of neighbours, and the groups that they connect."""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int
from mmengine.dist import barrier
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dino_plugin.curation.rows import Rows
from dino_plugin.curation.search import search
from dino_plugin.curation.tables import write_table
from dino_plugin.evaluation.retrieval.pairs import ROUNDING


def find_pairs(
    rows: Rows, queries: Rows, folder: Path, neighbours: int, threshold: float, index: Path | None = None
) -> None:
    """Writes a table for each chunk of queries: `image` (a query), `other` (one of its nearest rows), `similarity`.

    Tables that exist are not computed again: an interrupted call goes on. All processes call it.

    Args:
        rows: Of length 1, among which to search. If they are the queries, no image is its own neighbour.
        queries: Of length 1.
        folder: Of the tables.
        neighbours: Nearest rows of each query.
        threshold: Only pairs with at least this cosine, -1 to 1.
        index: As in `search`.

    Raises:
        ValueError: If the threshold is no cosine, or there is not one neighbour.
    """
    if not -1 <= threshold <= 1 or neighbours < 1:
        raise ValueError(f'threshold={threshold} is a cosine from -1 to 1, neighbours={neighbours} at least 1.')
    same = rows is queries
    missing = partial(_missing, folder)
    for first, similarity, number in search(rows, queries, neighbours + same, index, missing):
        image = np.arange(first, first + len(number))[:, None].repeat(number.shape[1], 1)
        number, similarity = number.numpy(), similarity.numpy()
        near = (similarity >= threshold - ROUNDING) & (number >= 0) & ~(same & (number == image))
        columns = dict(image=image[near], other=number[near], similarity=similarity[near])
        write_table(_table(folder, first), columns)
    barrier()


def _missing(folder: Path, first: int) -> bool:
    return not _table(folder, first).exists()


def _table(folder: Path, first: int) -> Path:
    return folder / f'{first:012}.parquet'


def groups_of_pairs(pairs: Int[np.ndarray, 'pairs 2'], images: int) -> Int[np.ndarray, ' images']:
    """The smallest number in the group of each image: two images are in one group if a chain of pairs joins them."""
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (images, images))
    _, group = connected_components(graph, directed=False)
    first = np.full(group.max(initial=-1) + 1, images)
    np.minimum.at(first, group, np.arange(images))
    return first[group]
