"""Retrieval as mmengine metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.evaluation.bank_metric import BankMetric, Labelled
from dino_plugin.evaluation.retrieval.by_class import class_retrieval, retrieval_among
from dino_plugin.evaluation.retrieval.copies import copy_retrieval
from dino_plugin.evaluation.retrieval.landmarks import landmark_retrieval
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

    Args:
        at: As in `RankingMetric`, like `whitening`.
        depth: As in `class_retrieval`, like `index`.

    Raises:
        ValueError: As in `RankingMetric`, and when it evaluates, as in `class_retrieval`.
        ImportError: When it evaluates, as in `class_retrieval`.
    """

    default_prefix = 'retrieval'

    def __init__(
        self, at: Sequence[int] = AT, whitening: str = 'none', depth: int | None = None, index: str = 'exact'
    ) -> None:
        super().__init__(at, whitening)
        self.options = dict(depth=depth, index=index)

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Percent."""
        return class_retrieval(*bank, *queries, self.at, over_ranks=True, **self.options)

    def score_among(self, images: Labelled) -> dict[str, float]:
        """Percent; each image is searched for among the others."""
        return retrieval_among(*images, self.at, over_ranks=True, **self.options)


class CopyMetric(RankingMetric):
    """Mean average precision of finding the originals of copies: `copies/mAP`, and `copies/mAP/<block>` of each kind.

    `copies/mAP` and `copies/mP@1` are means over the kinds. Average precision is that of the Holidays and Copydays
    evaluation (trapezoids). The whole bank is ranked; DINO's code cuts the ranking off after 20 images, which takes at
    most 2.4 points from a copy that is found later.

    The queries' dataset says in `metainfo` what the kinds are: `AttackedImages` or `CopydaysCopies`. The bank is
    `OriginalImages`.

    Raises:
        ValueError: As in `RankingMetric`; when it evaluates, if the queries are of another dataset, or the original of
            none of the copies of a kind is in the bank.
    """

    default_prefix = 'copies'

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Percent."""
        meta = self.dataset_meta or {}
        if 'blocks' not in meta:
            raise ValueError(
                'CopyMetric needs queries of dino_plugin.AttackedImages or dino_plugin.CopydaysCopies, whose labels '
                'say which image is the original.'
            )
        return copy_retrieval(*bank, *queries, meta['blocks'], meta['num_originals'], self.at, over_ranks=True)


class LandmarkMetric(RankingMetric):
    """`landmark_retrieval`: `landmarks/mAP/Medium`, `landmarks/mP@10/Hard` and so on.

    The queries are `LandmarkQueries`, the bank is `LandmarkBank`.

    Raises:
        ValueError: As in `RankingMetric`; when it evaluates, if the queries are of another dataset.
    """

    default_prefix = 'landmarks'

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Percent."""
        meta = self.dataset_meta or {}
        if 'truth' not in meta:
            raise ValueError(
                'LandmarkMetric needs queries of dino_plugin.LandmarkQueries, which know the right images.'
            )
        return landmark_retrieval(*bank, *queries, meta['truth'], self.at, over_ranks=True)
