"""The order of the samples and a seed for each, so that a run can be repeated from any position."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

_MASK = np.uint64(2**63 - 1)
_POSITIONS_PER_EPOCH = 2**40
_BITS = 53  # of a float


class ResumableSampler(Sampler):
    """mmengine's ``DefaultSampler`` with keys ``(index, seed)``; it can start in the middle of an epoch.

    Order, distribution (position p goes to rank p mod world size) and rounding are those of ``DefaultSampler`` with the
    same seed. Each global position also gets a seed for the augmentation of its sample:

        seed = mix(mix(run_seed) + 2**40 * epoch + position)   with mix a bijection of the 63-bit integers

    So within a run no two samples share a seed, and seeds do not depend on the number of ranks or workers. The keys are
    for :class:`~dino_plugin.data.images.seeded_dataset.SeededDataset`.

    Args:
        dataset: Only its length matters.
        shuffle: Permute the samples, differently in each epoch.
        seed: The same on every rank; drawn and shared between the ranks if None.
        round_up: Repeat the first samples until all ranks have the same number.

    Raises:
        TypeError: If the dataset is an mmengine dataset, which would not understand the keys.
        ValueError: If the dataset is empty.
    """

    def __init__(self, dataset: Any, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        if isinstance(dataset, (BaseDataset, ConcatDataset, RepeatDataset, ClassBalancedDataset)):
            raise TypeError(
                f'ResumableSampler gives keys (index, seed), which {type(dataset).__name__} does not understand: '
                "wrap it, dataset=dict(type='dino_plugin.SeededDataset', dataset=...)"
            )
        if len(dataset) == 0:
            raise ValueError('ResumableSampler: the dataset is empty')
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.epoch = 0
        self.rank, self.world_size = get_dist_info()
        self._start = 0

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch, also after :meth:`skip`."""
        return len(self._positions(0))

    @property
    def num_left(self) -> int:
        """Samples of this rank in the next pass, after :meth:`skip` or :meth:`start_at`."""
        return len(self._positions(self._start))

    def _positions(self, start: int) -> range:
        num_total = len(self.dataset)
        if self.round_up:
            num_total = start + max(0, math.ceil((num_total - start) / self.world_size)) * self.world_size
        return range(start + self.rank, num_total, self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Leave out the first samples of this rank in the next pass, and only there.

        Args:
            num_samples: Counted from the beginning of the epoch; none of them is loaded.

        Raises:
            ValueError: If it is negative or more than a pass has.
        """
        if not 0 <= num_samples <= len(self):
            raise ValueError(
                f'cannot skip {num_samples} samples of a pass of {len(self)} (rank {self.rank} of {self.world_size}): '
                'choose the epoch by set_epoch and skip within it, as dino_plugin.ResumableEpochLoop does'
            )
        self.start_at(num_samples * self.world_size)

    def start_at(self, num_samples: int) -> None:
        """Leave out the first samples of all ranks in the next pass, and only there.

        Ranks share what is left in the same way as a whole pass, so that a run goes on with another number of them.

        Args:
            num_samples: Of all ranks together; none of them is loaded.
        """
        self._start = num_samples

    def __iter__(self) -> Iterator[tuple[int, int]]:
        remaining = self._positions(self._start)
        self._start = 0
        return self._keys(remaining, self._order())

    def _order(self) -> Callable[[np.ndarray], np.ndarray]:
        """The images at these places of the epoch."""
        if not self.shuffle:
            return lambda places: places
        generator = torch.Generator()
        generator.manual_seed(self.seed + self.epoch)
        return torch.randperm(len(self.dataset), generator=generator).numpy().__getitem__

    def _keys(
        self, remaining: range, order: Callable[[np.ndarray], np.ndarray], block: int = 4096
    ) -> Iterator[tuple[int, int]]:
        """Pairs of Python integers, made block by block: a million at once would take 100 MB."""
        for start in range(0, len(remaining), block):
            part = remaining[start : start + block]
            positions = np.arange(part.start, part.stop, part.step)
            yield from as_keys(order(positions % len(self.dataset)), sample_seeds(self.seed, self.epoch, positions))


def sample_seeds(run_seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
    """The seeds at these global positions of an epoch: unsigned integers of 63 bits."""
    run = mix(np.array([run_seed % 2**63], dtype=np.uint64))
    return mix(run + np.uint64(epoch * _POSITIONS_PER_EPOCH) + positions.astype(np.uint64))


def mix(values: np.ndarray) -> np.ndarray:
    """A bijection of the integers below 2**63 in which each output bit depends on all input bits.

    The finaliser of splitmix64, reduced to 63 bits. Xor with a right shift and multiplication by an odd number are
    invertible modulo any power of two, so it is a bijection.

    References:
        Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 15.
    """
    values = (values + np.uint64(0x1E3779B97F4A7C15)) & _MASK
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) & _MASK
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB) & _MASK
    return values ^ (values >> np.uint64(31))


def uniform_numbers(run_seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each position, unrelated to the seed of its sample."""
    seeds = mix(sample_seeds(run_seed, epoch, positions))  # mixed again
    return (seeds >> np.uint64(63 - _BITS)) / 2.0**_BITS


def as_keys(indices: np.ndarray, seeds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs (index, seed) of Python integers."""
    return zip(indices.tolist(), seeds.tolist(), strict=True)
