"""How well the originals of copies are found."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.evaluation.nearest import unit_features
from dino_plugin.evaluation.retrieval.ranking import AT, mean_scores, score_queries


def copy_retrieval(
    bank_features: Float[Tensor, 'bank dim'],
    bank_labels: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    query_labels: Int[Tensor, ' queries'],
    blocks: Sequence[str],
    num_originals: int,
    at: Sequence[int] = AT,
    over_ranks: bool = False,
) -> dict[str, float]:
    """Mean average precision of each kind of copies, and means over the kinds, by cosine; in percent.

    `{'mAP': ..., 'mP@1': ..., 'mAP/strong': ..., 'mAP/crops/10': ..., 'queries': 3000.0}`

    Args:
        bank_features: Originals and distractors.
        bank_labels: Numbers of the originals; -1 for distractors.
        query_features: Copies.
        query_labels: Number of the original + kind * `num_originals`.
        blocks: Names of the kinds.
        num_originals: As in the labels.
        at: Numbers of nearest images, see `precision_at`.
        over_ranks: As in `class_retrieval`.

    Raises:
        ValueError: If the bank has a single image, no copy of a kind has its original in the bank, or features are not
            finite.
    """
    if over_ranks:
        bank_features, bank_labels = gather_over_ranks(bank_features), gather_over_ranks(bank_labels)
    if len(bank_labels) < 2:
        raise ValueError('The bank has a single image, so that any ranking would be right: add images or distractors.')
    bank, queries = unit_features(bank_features, 'bank'), unit_features(query_features, 'queries')
    kinds, originals = query_labels // num_originals, query_labels % num_originals

    def judge(some: slice) -> tuple[Bool[Tensor, 'some bank'], Bool[Tensor, 'some bank']]:
        relevant = originals[some, None] == bank_labels
        return relevant, torch.zeros_like(relevant)

    scores = score_queries(bank, queries, judge, at, trapezoids=True)
    found = {}
    for kind, name in enumerate(blocks):
        of_kind = type(scores)(*(values[kinds == kind] for values in scores))
        found[name] = mean_scores(of_kind, at, over_ranks, f'its original ({name})')
    names = ['mAP', *(f'mP@{k}' for k in at)]
    means = {name: sum(block[name] for block in found.values()) / len(found) for name in names}
    by_kind = {f'mAP/{name}': block['mAP'] for name, block in found.items()}
    return means | by_kind | {'queries': sum(block['queries'] for block in found.values())}
