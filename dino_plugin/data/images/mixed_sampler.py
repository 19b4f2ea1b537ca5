"""A random pipeline for each batch: the same in all processes, and in a resumed run."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dino_plugin.data.images.sampler import ResumableSampler, uniform_numbers


class MixedBatchSampler(ResumableSampler):
    """A `ResumableSampler` that chooses one pipeline of a `MultiPipelineDataset` for each batch.

    The choice for batch b of an epoch depends on the odds, the seed of the run, the epoch and b alone:

        u = mix(seed of position b in this epoch) / 2**63,    choice = first c with odds[0] + ... + odds[c] > u

    So all processes use the same pipeline at the same time, and their batches have one shape. A run that resumes in the
    middle of an epoch draws what an uninterrupted run draws. Order and seeds of the images are those of
    `ResumableSampler`; its length and ``skip`` count images, whatever the number of pipelines. Keys are
    ``(image + choice * number of images, seed)``.

    Args:
        dataset: A `SeededDataset` around a `MultiPipelineDataset`.
        odds: Probability of each pipeline; they sum to 1.
        batch_size: Images in a batch of one process, as in the dataloader; the training loop checks that.
        shuffle: As in `ResumableSampler`.
        seed: Likewise.
        round_up: Likewise.

    Raises:
        TypeError: If the dataset is not wrapped in a `SeededDataset`.
        ValueError: If there are not as many odds as pipelines, they are no probabilities, or the batch is empty.

    References:
        Siméoni et al. 2025, arXiv:2508.10104, high-resolution adaptation: sizes drawn for each batch.
    """

    def __init__(
        self,
        dataset: Any,
        odds: Sequence[float],
        batch_size: int,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        if not hasattr(dataset, 'num_images'):
            raise TypeError(
                f'MixedBatchSampler: {type(dataset).__name__} does not say its number of images; use dataset=dict('
                "type='dino_plugin.SeededDataset', dataset=dict(type='dino_plugin.MultiPipelineDataset', ...))"
            )
        num_pipelines = len(dataset) // dataset.num_images
        if len(odds) != num_pipelines:
            raise ValueError(f'MixedBatchSampler: {len(odds)} odds for {num_pipelines} pipelines; give one for each.')
        if min(odds) < 0 or abs(sum(odds) - 1) > 1e-6:
            raise ValueError(f'MixedBatchSampler: odds={tuple(odds)} must be probabilities, which sum to 1.')
        if batch_size < 1:
            raise ValueError(f'MixedBatchSampler: batch_size={batch_size} must be at least 1.')
        super().__init__(range(dataset.num_images), shuffle, seed, round_up)
        self.batch_size = batch_size
        self.thresholds = np.cumsum(odds) / np.sum(odds)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        done = -(-self._start // (self.batch_size * self.world_size))  # batches; after another number of ranks, about
        numbers = range(done * self.batch_size, done * self.batch_size + self.num_left)
        choices = self._choices(-(-numbers.stop // self.batch_size))
        return self._through_pipelines(numbers, super().__iter__(), choices)

    def _choices(self, num_batches: int) -> list[int]:
        uniform = uniform_numbers(self.seed, self.epoch, np.arange(num_batches))
        return np.searchsorted(self.thresholds, uniform, side='right').tolist()

    def _through_pipelines(
        self, numbers: range, keys: Iterable[tuple[int, int]], choices: list[int]
    ) -> Iterator[tuple[int, int]]:
        for number, (image, seed) in zip(numbers, keys, strict=True):
            yield image + choices[number // self.batch_size] * len(self.dataset), seed
