"""k-NN as an mmengine metric."""

import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log

from dino_plugin.core.reduce import sum_over_ranks
from dino_plugin.evaluation.bank_metric import BankMetric, Labelled
from dino_plugin.evaluation.classification.knn import knn_accuracy, leave_one_out_accuracy


class KNNMetric(BankMetric):
    """`knn_accuracy` of a test set against a bank: `knn/top1_k20` and so on. Processes exchange the bank alone.

    Without a bank each test image is compared with all others: `leave_one_out_accuracy`.

    Args:
        ks: Numbers of neighbours; numbers above the size of the bank are left out, with a warning.
        temperature: Temperature of the votes.

    Raises:
        ValueError: When it evaluates, as in `knn_accuracy` and `BankMetric`.
    """

    default_prefix = 'knn'

    def __init__(self, ks: Sequence[int] = (10, 20, 100, 200), temperature: float = 0.07) -> None:
        super().__init__()
        self.ks = tuple(ks)
        self.temperature = temperature

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Accuracies in percent."""
        return knn_accuracy(*bank, *queries, usable_ks(self.ks, _total(bank)), self.temperature, over_ranks=True)

    def score_among(self, images: Labelled) -> dict[str, float]:
        """Accuracies in percent, leave-one-out."""
        ks = usable_ks(self.ks, _total(images) - 1)
        return leave_one_out_accuracy(*images, ks, self.temperature, over_ranks=True)


def _total(images: Labelled) -> int:
    return int(sum_over_ranks(torch.tensor(len(images.labels), device=images.labels.device)))


def usable_ks(ks: Sequence[int], bank_size: int) -> tuple[int, ...]:
    """The numbers of neighbours that do not exceed the size of the bank; a warning tells which are left out.

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
