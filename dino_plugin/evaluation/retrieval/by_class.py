"""Class-labelled images as a retrieval set: the images of a query's class are the right answers."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks, rows_before, sum_over_ranks
from dino_plugin.evaluation.nearest import unit_features
from dino_plugin.evaluation.retrieval.ranking import AT, mean_scores, score_queries


def class_retrieval(
    bank_features: Float[Tensor, 'bank dim'],
    bank_labels: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    query_labels: Int[Tensor, ' queries'],
    at: Sequence[int] = AT,
    trapezoids: bool = False,
    over_ranks: bool = False,
) -> dict[str, float]:
    """Mean average precision over the whole bank and precision at k, by cosine; in percent.

    `{'mAP': ..., 'mP@1': ..., 'queries': 250.0}`; `queries` is the number of queries that have an image of their class
    in the bank. The others are left out.

    Args:
        bank_features: Images to search among.
        bank_labels: Their classes, 0 or more; -1 for images that are never right.
        query_features: Images to search for.
        query_labels: Their classes, 0 or more.
        at: Numbers of nearest images, see `precision_at`.
        trapezoids: As in `average_precision`.
        over_ranks: Each process of a distributed run has its own part of bank and queries; the result, on each process,
            is that of all together. All processes must call the function.

    Raises:
        ValueError: If the bank has one class only (every ranking would be right), no query has an image of its class,
            a query has no label, features are not finite, or as in `score_queries`.
    """
    if over_ranks:
        bank_features, bank_labels = gather_over_ranks(bank_features), gather_over_ranks(bank_labels)
    no_own = torch.full_like(query_labels, -1)
    return _retrieval(bank_features, bank_labels, query_features, query_labels, no_own, at, trapezoids, over_ranks)


def retrieval_among(
    features: Float[Tensor, 'images dim'],
    labels: Int[Tensor, ' images'],
    at: Sequence[int] = AT,
    trapezoids: bool = False,
    over_ranks: bool = False,
) -> dict[str, float]:
    """`class_retrieval` of each image among all others: every image is a query once, and is left out of the answers.

    Args:
        features: Images of at least two classes.
        labels: Their classes, 0 or more.
        at: As in `class_retrieval`, like the other arguments.

    Raises:
        ValueError: As in `class_retrieval`.
    """
    own = torch.arange(len(labels), device=labels.device)
    bank_features, bank_labels = features, labels
    if over_ranks:
        own = own + rows_before(labels)
        bank_features, bank_labels = gather_over_ranks(features), gather_over_ranks(labels)
    return _retrieval(bank_features, bank_labels, features, labels, own, at, trapezoids, over_ranks)


def _retrieval(
    bank_features: Float[Tensor, 'bank dim'],
    bank_labels: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    query_labels: Int[Tensor, ' queries'],
    own: Int[Tensor, ' queries'],
    at: Sequence[int],
    trapezoids: bool,
    over_ranks: bool,
) -> dict[str, float]:
    """`own` is the number of each query in the bank, -1 if it is not in it."""
    _check_labels(bank_labels, query_labels, over_ranks)
    bank, queries = unit_features(bank_features, 'bank'), unit_features(query_features, 'queries')
    numbers = torch.arange(len(bank), device=bank.device)

    def judge(some: slice) -> tuple[Bool[Tensor, 'some bank'], Bool[Tensor, 'some bank']]:
        return query_labels[some, None] == bank_labels, own[some, None] == numbers

    scores = score_queries(bank, queries, judge, at, trapezoids)
    return mean_scores(scores, at, over_ranks, 'another image of its class')


def _check_labels(bank_labels: Int[Tensor, ' bank'], query_labels: Int[Tensor, ' queries'], over_ranks: bool) -> None:
    counts = torch.stack([(query_labels < 0).sum(), torch.tensor(len(query_labels), device=query_labels.device)])
    unlabelled, total = (sum_over_ranks(counts) if over_ranks else counts).tolist()
    if unlabelled or total == 0:
        raise ValueError(
            f'{unlabelled} of {total} queries have no label (0 or more): retrieval by class needs labelled images, '
            'such as class folders with with_labels=True.'
        )
    if len(bank_labels.unique()) < 2:
        raise ValueError(
            f'All {len(bank_labels)} images of the bank are of one class, so that any ranking would be right: give '
            'images of at least two classes.'
        )
