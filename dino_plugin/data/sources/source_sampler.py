"""Several sources of images with odds for each, mixed within batches or in whole batches of one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from dino_plugin.data.images.sampler import ResumableSampler, as_keys, sample_seeds, uniform_numbers
from dino_plugin.data.sources.shard_sampler import Places, WindowOrder, sources_of

_BLOCK = 2**16  # positions at a time


class SourceSampler(ResumableSampler):
    """A `ResumableSampler` that draws each image from one of several sources, by odds.

    ``batches`` lists kinds of batches; the kind of a batch is drawn by its probability, then the source of each of its
    images by the odds of that kind. Curated and retrieved images 3 : 1, and every tenth batch of ImageNet alone::

        dataset=dict(
            type='dino_plugin.SeededDataset',
            dataset=dict(type='ConcatDataset', datasets=[curated, retrieved, imagenet]))
        sampler=dict(type='dino_plugin.SourceSampler', batch_size=64, batches=[(0.9, (3, 1, 0)), (0.1, (0, 0, 1))])

    Within a source every image comes once before any comes again, in another order each time: draw j of an epoch is
    place j mod n of pass j // n. So a small source with large odds is seen often, and a large one in parts. An epoch
    has as many draws as all sources together have images. Everything depends on seed, epoch and position alone: a
    resumed run goes on as an unbroken one, on any number of processes with the same batch of all together; no image is
    loaded again for it. All processes have a batch of the same kind at the same time.

    Args:
        dataset: A `SeededDataset` around mmengine's ``ConcatDataset``.
        batches: (probability, odds of each source) of each kind; probabilities sum to 1.
        batch_size: Images in a batch of one process, as in the dataloader; the training loop checks that.
        window: As in `ShardSampler`, for sources of shards. None: all images of a source at random.
        seed: As in `ResumableSampler`.
        round_up: Likewise.

    Raises:
        ValueError: If odds are not one for each source, or not possible; if a source is empty.

    References:
        Siméoni et al. 2025, arXiv:2508.10104, section 3.1: mixed batches, and homogeneous ones of ImageNet-1k.
    """

    def __init__(
        self,
        dataset: Any,
        batches: Sequence[tuple[float, Sequence[float]]],
        batch_size: int,
        window: int | None = None,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, True, seed, round_up)
        self._sources = sources_of(dataset)
        if min(map(len, self._sources)) < 1 or batch_size < 1 or (window is not None and window < 1):
            raise ValueError(
                f'SourceSampler: {batch_size=} and {window=} are 1 or more, and so are the images of each source: '
                f'{[len(source) for source in self._sources]}'
            )
        self.batch_size, self.window = batch_size, window
        self._kinds = _thresholds([probability for probability, _ in batches], 'probabilities of batches', len(batches))
        if abs(sum(probability for probability, _ in batches) - 1) > 1e-6:
            raise ValueError(f'SourceSampler: the probabilities of {batches=} must sum to 1.')
        self._odds = [_thresholds(odds, 'odds', len(self._sources)) for _, odds in batches]

    def sources_at(self, positions: Places) -> Places:
        """The number of the source of each position of an epoch; the processes share positions as they share images."""
        batch = self.batch_size * self.world_size
        numbers, inverse = np.unique(positions // batch, return_inverse=True)
        # Batches and images draw from different numbers: those of epoch 2 e and 2 e + 1.
        kinds = np.searchsorted(self._kinds, uniform_numbers(self.seed, 2 * self.epoch, numbers), side='right')[inverse]
        uniform = uniform_numbers(self.seed, 2 * self.epoch + 1, positions)
        sources = np.empty_like(positions)
        for kind, thresholds in enumerate(self._odds):
            sources[kinds == kind] = np.searchsorted(thresholds, uniform[kinds == kind], side='right')
        return sources

    def __iter__(self) -> Iterator[tuple[int, int]]:
        remaining = self._positions(self._start)
        self._start = 0
        return self._draws(remaining)

    def _draws(self, remaining: range) -> Iterator[tuple[int, int]]:
        orders = [self._order_of(number, source) for number, source in enumerate(self._sources)]
        begins = np.cumsum([0, *map(len, self._sources)])
        num_drawn = [0] * len(orders)
        for start in range(0, remaining.stop, _BLOCK):
            positions = np.arange(start, min(start + _BLOCK, remaining.stop))
            own = (positions >= remaining.start) & ((positions - remaining.start) % remaining.step == 0)
            sources, images = self.sources_at(positions), np.empty_like(positions)
            for number, order in enumerate(orders):
                there = np.flatnonzero(sources == number)
                draws = num_drawn[number] + np.arange(len(there))
                images[there[own[there]]] = begins[number] + order(draws[own[there]])
                num_drawn[number] += len(there)
            yield from as_keys(images[own], sample_seeds(self.seed, self.epoch, positions[own]))

    def _order_of(self, number: int, source: Any) -> Callable[[Places], Places]:
        shards = getattr(source, 'starts', None)
        starts = np.zeros(1, np.int64) if shards is None or self.window is None else shards
        return _Passes(starts, len(source), self.window or 1, [self.seed, self.epoch, number])


class _Passes:
    """Draws of one source: pass after pass, each in another order."""

    def __init__(self, starts: Int64[np.ndarray, ' shards'], num_images: int, window: int, seed: list[int]) -> None:
        self._arguments, self._num_images, self._seed = (starts, num_images, window), num_images, seed
        self._number, self._order = -1, None

    def __call__(self, draws: Places) -> Places:
        images = np.empty_like(draws)
        passes = draws // self._num_images
        for number in np.unique(passes).tolist():
            if number != self._number:
                self._number, self._order = number, WindowOrder(*self._arguments, [*self._seed, number])
            images[passes == number] = self._order(draws[passes == number] % self._num_images)
        return images


def _thresholds(odds: Sequence[float], name: str, number: int) -> np.ndarray:
    if len(odds) != number or min(odds, default=-1) < 0 or sum(odds) <= 0:
        raise ValueError(f'SourceSampler: {name} {tuple(odds)}: expected {number} numbers, 0 or more, not all 0.')
    thresholds = np.cumsum(odds) / sum(odds)
    thresholds[np.flatnonzero(odds)[-1] :] = 1.0  # a rounded sum leaves no gap, and odds of 0 stay 0
    return thresholds
