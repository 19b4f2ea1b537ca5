"""Retrieval as mmengine metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.evaluation.bank_metric import BankMetric, Labelled
from dino_plugin.evaluation.retrieval.by_class import class_retrieval, retrieval_among
from dino_plugin.evaluation.retrieval.ranking import AT
from dino_plugin.evaluation.retrieval.whitening import fit_whitening

WHITENINGS = ('none', 'centred', 'about_zero')


class RankingMetric(BankMetric):
    """The common part of metrics that rank a bank: features can be whitened first.

    Args:
        at: Numbers of nearest images, see `precision_at`.
        whitening: `none`; `centred`, or `about_zero` as in the code of DINO's authors, see `fit_whitening`. It is
            fitted on the images of the loop's `whitening_dataloader`; without them on the bank; without a bank on all.

    Raises:
        ValueError: If `whitening` is another word; when it evaluates, as in `fit_whitening` and `BankMetric`.
    """

    def __init__(self, at: Sequence[int] = AT, whitening: str = 'none') -> None:
        super().__init__()
        if whitening not in WHITENINGS:
            raise ValueError(f'{type(self).__name__}: whitening must be one of {WHITENINGS}, got {whitening!r}.')
        self.at = tuple(at)
        self.whitening = whitening

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the features of one batch; those for whitening only if they are needed."""
        self.results.extend(
            sample for sample in data_samples if self.whitening != 'none' or not sample.get('for_whitening')
        )

    def compute_metrics(self, results: list[dict]) -> Mapping[str, float]:
        """The numbers of the whitened features."""
        if self.whitening == 'none':
            return super().compute_metrics(results)
        searched = [sample for sample in results if not sample.get('for_whitening')]
        whiten = fit_whitening(self._to_fit(results), centred=self.whitening == 'centred')
        return super().compute_metrics([sample | dict(features=whiten(sample['features'])) for sample in searched])

    def _to_fit(self, results: list[dict]) -> Float[Tensor, 'samples dim']:
        """Features of all processes: those for whitening, else the bank, else all."""
        none = results[0]['features'][:0]
        for wanted in ('for_whitening', 'in_bank'):
            own = torch.cat([none, *(sample['features'] for sample in results if sample.get(wanted))])
            found = gather_over_ranks(own)
            if len(found):
                return found
        return gather_over_ranks(torch.cat([sample['features'] for sample in results]))


class ClassRetrievalMetric(RankingMetric):
    """`class_retrieval` of a test set against a bank, or `retrieval_among` the test set: `retrieval/mAP` and so on.

    Raises:
        ValueError: As in `RankingMetric`, and when it evaluates, as in `class_retrieval`.
    """

    default_prefix = 'retrieval'

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Percent."""
        return class_retrieval(*bank, *queries, self.at, over_ranks=True)

    def score_among(self, images: Labelled) -> dict[str, float]:
        """Percent; each image is searched for among the others."""
        return retrieval_among(*images, self.at, over_ranks=True)
