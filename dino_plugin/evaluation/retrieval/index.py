"""An index of many features, by faiss: for banks too large to compare with all of them."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.evaluation.nearest import nearest_by_cosine, unit_features

KINDS = ('exact', 'flat', 'ivf', 'hnsw')
LEAST_SAMPLES = 39  # of a cell; with fewer faiss warns
HNSW_LINKS = 32


def indexed_nearest(
    bank: Float[Tensor, 'bank dim'],
    queries: Float[Tensor, 'queries dim'],
    k: int,
    index: str = 'exact',
    effort: int = 64,
) -> tuple[Float[Tensor, 'queries k'], Int[Tensor, 'queries k']]:
    """As `nearest_by_cosine`, also by an index; results are on the queries' device.

    An approximate index can miss a near image. A query for which it finds fewer than k gets number -1 and similarity
    -inf in their places.

    Args:
        bank: Features of any length.
        queries: Likewise.
        k: 1 to the size of the bank.
        index: `exact`: every pair is compared, without faiss. `flat`: the same by faiss, on the CPU. `ivf`: the bank is
            split into cells by k-means, at most 4 * sqrt(bank), and the `effort` nearest ones are searched.
            `hnsw`: a graph of neighbours, built once without k-means; faster to search, slower to build.
        effort: Cells to search, or candidates of the graph: more are slower and miss less.

    Raises:
        ValueError: If the index is unknown, `effort` is below 1, or as in `nearest_by_cosine`.
        ImportError: If faiss is needed and missing.
    """
    if index not in KINDS:
        raise ValueError(f'index must be one of {", ".join(KINDS)}, got {index!r}.')
    if index == 'exact':
        return nearest_by_cosine(bank, queries, k)
    if effort < 1:
        raise ValueError(f'effort is a number of cells or candidates, at least 1, got {effort}.')
    if not 1 <= k <= len(bank):
        raise ValueError(f'{k} nearest of {len(bank)} bank: ask for 1 to {len(bank)}.')
    samples, wanted = (unit_features(part, name).cpu().numpy() for part, name in ((bank, 'bank'), (queries, 'queries')))
    built = _built(import_faiss(), samples, index, max(effort, k) if index == 'hnsw' else effort)
    similarities, numbers = (torch.from_numpy(part).to(queries.device) for part in built.search(wanted, k))
    return similarities.masked_fill(numbers < 0, -torch.inf), numbers


def import_faiss() -> Any:
    """The module.

    Raises:
        ImportError: With the cure, if it is missing.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "An index needs faiss: pip install 'dino_plugin[index]' (or faiss-cpu). index='exact' needs nothing."
        ) from error
    return faiss


def _built(faiss: Any, samples: Any, kind: str, effort: int) -> Any:
    """The index with all samples."""
    dim = samples.shape[1]
    if kind == 'flat':
        index = faiss.IndexFlatIP(dim)
    elif kind == 'hnsw':
        index = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        faiss.ParameterSpace().set_index_parameter(index, 'efSearch', effort)
    else:
        cells = max(1, min(round(4 * len(samples) ** 0.5), len(samples) // LEAST_SAMPLES))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        faiss.ParameterSpace().set_index_parameter(index, 'nprobe', min(effort, cells))
        index.train(samples)
    index.add(samples)
    return index
