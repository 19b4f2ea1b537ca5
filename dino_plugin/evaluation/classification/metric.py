"""k-NN as an mmengine metric."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from dino_plugin.core.reduce import sum_over_ranks
from dino_plugin.evaluation.classification.knn import knn_accuracy


class KNNMetric(BaseMetric):
    """`knn_accuracy` of a test set against a bank, as `knn/top1_k20` and so on.

    Predictions are dicts with `features` (`batch dim`) and `labels` (`batch`), as `FeatureExtractor` gives them; those
    with `in_bank=True` make the bank, see `BankTestLoop`. Nothing is gathered but the bank, and features stay on
    their device.

    Args:
        ks: Numbers of neighbours; those above the size of the bank are left out, with a warning.
        temperature: Of the votes.

    Raises:
        ValueError: When it evaluates, if there is no bank, and as in `knn_accuracy`.
    """

    default_prefix = 'knn'

    def __init__(self, ks: Sequence[int] = (10, 20, 100, 200), temperature: float = 0.07) -> None:
        super().__init__()
        self.ks = tuple(ks)
        self.temperature = temperature

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps the features of one batch."""
        self.results.extend(data_samples)

    def evaluate(self, size: int) -> dict[str, float]:
        """The same numbers on each process; `size` is mmengine's and not needed, nothing is padded."""
        scores = self.compute_metrics(self.results)
        self.results.clear()
        return {f'{self.prefix}/{name}': score for name, score in scores.items()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Accuracies in percent by name."""
        bank, queries = (
            [sample for sample in results if bool(sample.get('in_bank')) is wanted] for wanted in (True, False)
        )
        like = (bank or queries)[0]
        bank_features, bank_labels = _joined(bank, like)
        bank_size = int(sum_over_ranks(torch.tensor(len(bank_labels), device=bank_labels.device)))
        if bank_size == 0:
            raise ValueError(
                "KNNMetric has no bank of labelled images: set test_cfg=dict(type='dino_plugin.BankTestLoop', "
                'bank_dataloader=dict(...)).'
            )
        ks = usable_ks(self.ks, bank_size)
        return knn_accuracy(bank_features, bank_labels, *_joined(queries, like), ks, self.temperature, over_ranks=True)


def usable_ks(ks: Sequence[int], bank_size: int) -> tuple[int, ...]:
    """Those not above the size of the bank; says which are left out.

    Raises:
        ValueError: If none is left.
    """
    usable = tuple(k for k in ks if k <= bank_size)
    if not usable:
        raise ValueError(f'None of ks={tuple(ks)} fits a bank of {bank_size} samples; name a smaller one.')
    if len(usable) < len(ks):
        print_log(
            f'k-NN: the bank has {bank_size} samples, only k = {", ".join(map(str, usable))} of {tuple(ks)} is used.',
            logger='current',
            level=logging.WARNING,
        )
    return usable


def _joined(samples: list[dict], like: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """All features and labels; empty ones of the right width where this process has no samples."""
    parts = samples or [{'features': like['features'][:0], 'labels': like['labels'][:0]}]
    return torch.cat([part['features'] for part in parts]), torch.cat([part['labels'] for part in parts])
