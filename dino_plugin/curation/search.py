"""The nearest rows of many queries: exactly, or by an index of faiss that is built once and kept in a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from dino_plugin.curation.rows import Rows
from dino_plugin.evaluation.nearest import nearest
from dino_plugin.evaluation.progress import Task
from dino_plugin.evaluation.retrieval.index import import_faiss

EXACT = 50_000  # rows up to which an exact search is quick
TRAINING_ROWS = 50  # for each cell of an index
PROBES = 4  # cells that a query looks at


class Found(NamedTuple):
    """Neighbours of some queries, nearest first.

    Attributes:
        first: Place of the first of these queries.
        similarity: Cosines; -inf where an index found fewer.
        number: Places among the rows; -1 where an index found fewer.
    """

    first: int
    similarity: Float[Tensor, 'some k']
    number: Int[Tensor, 'some k']


def search(
    rows: Rows, queries: Rows, k: int, index: Path | None = None, wanted: Callable[[int], bool] | None = None
) -> Iterator[Found]:
    """Neighbours of the queries that are this process's share, chunk by chunk, on the CPU.

    Args:
        rows: Of length 1, among which to search; each process reads them all, once for each chunk of queries.
        queries: Of length 1.
        k: Neighbours of each; at most as many as there are rows.
        index: A file of `build_index`, in place of the rows; it may miss neighbours.
        wanted: Whether to search for the chunk that begins at a place; None: for all.
    """
    k = min(k, len(rows))
    by_index = None if index is None else _open(index)
    chunks = [places for places in queries.places() if wanted is None or wanted(int(places[0]))]
    with Task(f'neighbours of {queries.name}, chunks', len(chunks)) as task:
        for done, places in enumerate(chunks, 1):
            some = queries.take(places)
            if by_index is None:
                similarity, number = (part.cpu() for part in _exact(rows, some, k))
            else:
                similarity, number = map(torch.from_numpy, by_index.search(some.cpu().numpy(), k))
            yield Found(int(places[0]), similarity.masked_fill(number < 0, -torch.inf), number)
            task.update(done)


def _exact(rows: Rows, queries: Float[Tensor, 'queries dim'], k: int) -> tuple[Tensor, Tensor]:
    best, numbers = queries.new_zeros(len(queries), 0), queries.new_zeros(len(queries), 0, dtype=torch.long)
    for places in rows.places(whole=True):
        found = nearest(rows.take(places), queries, min(k, len(places)), 512, len(places))
        similarity, indices = (torch.cat(part) for part in zip(*found))
        candidates = torch.cat([best, similarity], 1)
        best, order = candidates.topk(min(k, candidates.shape[1]), 1)
        numbers = torch.cat([numbers, indices + int(places[0])], 1).gather(1, order)
    return best, numbers


def index_for(rows: int) -> str:
    """The index that pays for so many rows, in the words of `build_index`."""
    return 'exact' if rows <= EXACT else f'IVF{round(4 * rows**0.5)},Flat'


def build_index(rows: Rows, description: str, out: Path) -> Path | None:
    """An index of all rows by inner product, written by the first process; the others wait for it.

    Args:
        rows: Of length 1.
        description: `exact`: no index. Else in the words of faiss's index factory: `IVF4096,Flat` with 4,096 cells;
            `IVF65536,PQ64`, which keeps 64 bytes for each row. Cells are trained on 50 rows for each.
        out: The file; one that exists is kept.

    Raises:
        ValueError: If faiss does not understand the description.
        ImportError: If faiss is missing.
    """
    if description == 'exact':
        return None
    faiss = import_faiss()
    if is_main_process() and not out.exists():
        index = _empty_index(faiss, rows.dim, description)
        if not index.is_trained:
            cells = getattr(faiss.try_extract_index_ivf(index), 'nlist', 0)
            index.train(rows.sample(TRAINING_ROWS * max(256, cells), seed=0).cpu().numpy())
        with Task('rows in the index', len(rows)) as task:
            for places in rows.places(whole=True):
                index.add(rows.take(places).cpu().numpy())
                task.update(int(places[-1]) + 1)
        faiss.write_index(index, str(out.with_suffix('.unfinished')))
        out.with_suffix('.unfinished').replace(out)
    barrier()
    return out


def _empty_index(faiss: Any, dim: int, description: str) -> Any:
    try:
        return faiss.index_factory(dim, description, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(f"{description!r} is no index of faiss's factory, such as IVF4096,Flat: {error}") from error


def _open(path: Path) -> Any:
    faiss = import_faiss()
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)  # processes of one machine share its pages
    if (cells := faiss.try_extract_index_ivf(index)) is not None:
        cells.nprobe = min(PROBES, cells.nlist)
    return index
