"""An order of images that reads few shards at a time, made window by window."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from dino_plugin.data.images.sampler import ResumableSampler

Places = Int64[np.ndarray, ' images']


class WindowOrder:
    """Shards in random order, cut into windows of k shards; the images of a window in random order.

    Each window is one stretch of the epoch, so whoever follows the order reads k shards at a time and each byte once.
    A window is made when its first image is asked for: no list of all images exists.

    Args:
        starts: Number of the first image of each shard.
        num_images: Of all shards together.
        window: k.
        seed: Numbers that decide the order.
    """

    def __init__(self, starts: Int64[np.ndarray, ' shards'], num_images: int, window: int, seed: Sequence[int]) -> None:
        ends = np.append(starts[1:], num_images)
        shards = np.random.default_rng(seed).permutation(len(starts))
        self._ranges = np.stack([starts, ends], axis=1)[shards]
        self._window, self._seed = window, seed
        sizes = np.add.reduceat(self._ranges[:, 1] - self._ranges[:, 0], np.arange(0, len(shards), window))
        self._ends = np.cumsum(sizes)
        self._last: tuple[int, np.ndarray] = -1, starts

    def __call__(self, places: Places) -> Places:
        """The images at these places of the order."""
        windows = np.searchsorted(self._ends, places, side='right')
        images = np.empty_like(places)
        for number in np.unique(windows).tolist():
            there = windows == number
            begin = int(self._ends[number - 1]) if number else 0
            images[there] = self._images_of(number)[places[there] - begin]
        return images

    def _images_of(self, number: int) -> Places:
        if self._last[0] != number:
            ranges = self._ranges[number * self._window : (number + 1) * self._window]
            images = np.concatenate([np.arange(begin, end) for begin, end in ranges])
            self._last = number, np.random.default_rng([*self._seed, number + 1]).permutation(images)
        return self._last[1]


class ShardSampler(ResumableSampler):
    """A `ResumableSampler` whose images come from few shards at a time, so that network disks read in sequence.

    The order is that of `WindowOrder`, another one in each epoch; ranks, seeds and resuming are as in
    `ResumableSampler`. How good is the shuffle? Every image comes once in an epoch, and at any time of it with equal
    probability. But two images come in one batch only if their shards are in one window: with n shards this has the
    probability (k - 1) / (n - 1), and for images of one shard 1. Where shards were filled in random order, as
    ``make_shards`` does, batches are random samples nevertheless. Elsewhere, as with a class in each shard, choose k
    so large that k shards look like the whole.

    Args:
        dataset: A `SeededDataset` around a `ShardDataset`, or around mmengine's ``ConcatDataset`` of several.
        window: Shards at a time, 1 or more; their bytes should fit into memory, where the disk's cache is.
        seed: As in `ResumableSampler`.
        round_up: Likewise.

    Raises:
        TypeError: If the data set has no shards.
        ValueError: If the window is not positive, or the data set is empty.
    """

    def __init__(self, dataset: Any, window: int = 8, seed: int | None = None, round_up: bool = True) -> None:
        if window < 1:
            raise ValueError(f'ShardSampler: window={window} is a number of shards, 1 or more.')
        super().__init__(dataset, True, seed, round_up)
        self.window = window
        parts = list(sources_of(dataset))
        if not all(hasattr(part, 'starts') for part in parts) or sum(map(len, parts)) != len(dataset):
            raise TypeError(
                f'ShardSampler: {" and ".join(type(part).__name__ for part in parts)} has no shards; use it with '
                'dino_plugin.ShardDataset, or dino_plugin.ResumableSampler here.'
            )
        begins = np.cumsum([0, *map(len, parts)])
        self._starts = np.concatenate([part.starts + begin for part, begin in zip(parts, begins)])

    def _order(self) -> Callable[[Places], Places]:
        return WindowOrder(self._starts, len(self.dataset), self.window, [self.seed, self.epoch])


def sources_of(dataset: Any) -> Sequence[Any]:
    """The data sets inside a `SeededDataset`: those of a ``ConcatDataset``, or the only one."""
    inner = getattr(dataset, 'dataset', dataset)
    return getattr(inner, 'datasets', [inner])
