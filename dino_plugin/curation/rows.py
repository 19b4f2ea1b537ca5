"""Many vectors in memory-mapped files: read chunk by chunk, each process its own share."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from mmengine.dist import get_rank
from torch import Tensor

from dino_plugin.core.reduce import num_ranks
from dino_plugin.evaluation.features.names import read_names
from dino_plugin.evaluation.nearest import unit_features
from dino_plugin.evaluation.retrieval.whitening import Whitening

CHUNK = 16384


class Rows:
    """The rows of some arrays, one array after the other. Nothing is read before it is asked for.

    Args:
        arrays: `rows dim` each, of any float type; usually memory-mapped.
        numbers: Only these rows, in this order; None: all.
        unit: Whether rows are given with length 1.
        device: Where they are given.
        chunk: Rows at a time: it decides the memory and nothing else.
        name: What they are, for messages.
        whitening: Done to rows of length 1, which get length 1 again.

    Raises:
        ValueError: If there is no row, or the arrays differ in width. From `take` and `own`: if a row of `unit` rows
            holds NaN or infinity.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        numbers: Shaped[np.ndarray, ' chosen'] | None = None,
        unit: bool = False,
        device: str | torch.device = 'cpu',
        chunk: int = CHUNK,
        name: str = 'images',
        whitening: Whitening | None = None,
    ) -> None:
        widths = {array.shape[1] for array in arrays if array.ndim == 2}
        if len(widths) != 1 or any(array.ndim != 2 for array in arrays):
            raise ValueError(
                f'{name}: embeddings are arrays "rows dim" of one width, got {[a.shape for a in arrays][:5]}.'
            )
        self.arrays, self.numbers, self.unit, self.device = list(arrays), numbers, unit, device
        self.chunk, self.name, self.whitening, self.dim = chunk, name, whitening, widths.pop()
        self._starts = np.cumsum([0, *map(len, arrays)])
        if len(self) == 0:
            raise ValueError(f'{name}: there is no embedding.')

    def __len__(self) -> int:
        return int(self._starts[-1]) if self.numbers is None else len(self.numbers)

    def subset(self, numbers: Int[np.ndarray, ' chosen']) -> 'Rows':
        """Only these rows, by their places among the present ones."""
        numbers = np.asarray(numbers) if self.numbers is None else self.numbers[numbers]
        return Rows(self.arrays, numbers, self.unit, self.device, self.chunk, self.name, self.whitening)

    def whitened(self, whitening: Whitening) -> 'Rows':
        """The same rows, whitened after they got length 1, and with length 1 again."""
        return Rows(self.arrays, self.numbers, True, self.device, self.chunk, self.name, whitening)

    def take(self, places: Int[np.ndarray, ' wanted']) -> Float[Tensor, 'wanted dim']:
        """Some rows in float32, in the order of the places."""
        numbers = places if self.numbers is None else self.numbers[places]
        found = np.empty((len(places), self.dim), np.float32)
        for array, start, stop in zip(self.arrays, self._starts, self._starts[1:]):
            here = (start <= numbers) & (numbers < stop)
            if here.any():
                found[here] = array[numbers[here] - start]
        rows = torch.from_numpy(found).to(self.device)
        if self.unit and len(places):
            rows = unit_features(rows, f'{self.name} {places[0]} to {places[-1]}')
        return rows if self.whitening is None else unit_features(self.whitening(rows), self.name)

    def places(self, whole: bool = False) -> Iterator[Int[np.ndarray, ' some']]:
        """The places of each chunk that is this process's; the chunks are the same for any number of processes.

        Args:
            whole: Of all chunks, in each process.
        """
        chunks = range(-(-len(self) // self.chunk))
        for number in chunks if whole else share(len(chunks)):
            yield np.arange(number * self.chunk, min((number + 1) * self.chunk, len(self)))

    def own(self) -> Iterator[Float[Tensor, 'some dim']]:
        """The share of this process, chunk by chunk; the shares of all ranks, in their order, are all rows."""
        return map(self.take, self.places())

    def sample(self, number: int, seed: int) -> Float[Tensor, 'sampled dim']:
        """Random rows without repetition, at most all: the same ones in each process."""
        return self.take(random_places(len(self), number, seed))


def random_places(total: int, number: int, seed: int) -> Int[np.ndarray, ' sampled']:
    """Some of 0 ... total - 1, ascending; at most all."""
    if number >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, number, replace=False, shuffle=False))


def share(total: int) -> range:
    """The numbers below the total that are this process's: neighbours, so that shares in the order of ranks are all."""
    rank, ranks = get_rank(), num_ranks()
    return range(total * rank // ranks, total * (rank + 1) // ranks)


def open_rows(folder: str | Path, device: str | torch.device = 'cpu', name: str = 'images') -> Rows:
    """The embeddings of a folder, with length 1: all its `.npy` in the order of their names, memory-mapped.

    Raises:
        ValueError: If there is none, or as `Rows`.
    """
    files = sorted(Path(folder).glob('*.npy'))
    if not files:
        raise ValueError(f'No .npy in {folder}: expected embeddings as dino-plugin features writes them.')
    return Rows([np.load(file, mmap_mode='r') for file in files], unit=True, device=device, name=name)


def names_of_rows(folder: str | Path) -> list[str]:
    """The image of each row of `open_rows`: the lines of the `.txt` beside each `.npy`.

    Raises:
        ValueError: If there is another number of lines than of rows.
    """
    return [
        name
        for file in sorted(Path(folder).glob('*.npy'))
        for name in read_names(file.with_suffix('.txt'), len(np.load(file, mmap_mode='r')))
    ]
