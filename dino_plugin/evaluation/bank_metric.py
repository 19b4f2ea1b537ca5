"""The common part of evaluators that compare test images with a bank of labelled images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from mmengine.evaluator import BaseMetric
from torch import Tensor

from dino_plugin.core.reduce import sum_over_ranks


class Labelled(NamedTuple):
    """Features and labels of images, those of this process."""

    features: Float[Tensor, 'images dim']
    labels: Int[Tensor, ' images']


class BankMetric(BaseMetric, ABC):
    """Collects the features of the bank and of the queries; a subclass scores them.

    Predictions are dicts with `features` (`batch dim`) and `labels` (`batch`), as `FeatureExtractor` gives them. Those
    with `in_bank=True`, of `BankTestLoop`, are the bank. All stay on their device and in their process.

    Raises:
        ValueError: When it evaluates, if there is no bank, unless a subclass can do without.
    """

    @abstractmethod
    def score(self, bank: Labelled, queries: Labelled) -> Mapping[str, float]:
        """Numbers by name, the same in each process.

        Args:
            bank: This process's part, which may be empty. Gathered, it is in order of processes, not of the data set.
            queries: This process's part, likewise.
        """

    def score_among(self, images: Labelled) -> Mapping[str, float]:
        """Numbers of images that are compared with each other, where there is no bank.

        Args:
            images: This process's part.

        Raises:
            ValueError: Unless a subclass has such numbers.
        """
        raise ValueError(
            f"{type(self).__name__} has no bank of labelled images: set test_cfg=dict(type='dino_plugin."
            "BankTestLoop', bank_dataloader=dict(...))."
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the features of one batch."""
        self.results.extend(data_samples)

    def evaluate(self, size: int) -> dict[str, float]:
        """The numbers with the metric's prefix. mmengine's `size` is not needed, since no sample is repeated."""
        scores = self.compute_metrics(self.results)
        self.results.clear()
        return {f'{self.prefix}/{name}': score for name, score in scores.items()}

    def compute_metrics(self, results: list[dict]) -> Mapping[str, float]:
        """The numbers of `score`."""
        bank, queries = ([part for part in results if bool(part.get('in_bank')) is wanted] for wanted in (True, False))
        like = (bank or queries)[0]
        labelled = _joined(bank, like)
        if not sum_over_ranks(torch.tensor(len(labelled.labels), device=labelled.labels.device)):
            return self.score_among(_joined(queries, like))
        return self.score(labelled, _joined(queries, like))


def _joined(samples: list[dict], like: dict) -> Labelled:
    """All features and labels in one; empty tensors of the right width if this process has no samples."""
    parts = samples or [{'features': like['features'][:0], 'labels': like['labels'][:0]}]
    return Labelled(torch.cat([part['features'] for part in parts]), torch.cat([part['labels'] for part in parts]))
