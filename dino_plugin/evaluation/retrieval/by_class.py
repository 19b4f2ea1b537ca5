"""Class-labelled images as a retrieval set: the images of a query's class are the right answers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks, rows_before, sum_over_ranks
from dino_plugin.evaluation.nearest import unit_features
from dino_plugin.evaluation.retrieval.index import indexed_nearest
from dino_plugin.evaluation.retrieval.ranking import (
    AT,
    QueryScores,
    average_precision,
    mean_scores,
    precision_at,
    ranked_relevance,
    score_queries,
)


class _Labelled(NamedTuple):
    features: Float[Tensor, 'images dim']
    labels: Int[Tensor, ' images']


def class_retrieval(
    bank_features: Float[Tensor, 'bank dim'],
    bank_labels: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    query_labels: Int[Tensor, ' queries'],
    at: Sequence[int] = AT,
    trapezoids: bool = False,
    over_ranks: bool = False,
    depth: int | None = None,
    index: str = 'exact',
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
        depth: Rank only so many nearest images, for banks of millions. Average precision is then divided by the number
            of images of the class or by the depth, whichever is less. None: the whole bank.
        index: How the nearest are found, see `indexed_nearest`; needs a `depth`.

    Raises:
        ValueError: If the bank has one class only (every ranking would be right), no query has an image of its class,
            a query has no label, features are not finite, `depth` is less than a number of `at`, an index has no
            depth, or as in `score_queries` and `indexed_nearest`.
        ImportError: As in `indexed_nearest`.
    """
    if over_ranks:
        bank_features, bank_labels = gather_over_ranks(bank_features), gather_over_ranks(bank_labels)
    bank, queries = _Labelled(bank_features, bank_labels), _Labelled(query_features, query_labels)
    no_own = torch.full_like(query_labels, -1)
    return _retrieval(bank, queries, no_own, at, trapezoids, over_ranks, depth, index)


def retrieval_among(
    features: Float[Tensor, 'images dim'],
    labels: Int[Tensor, ' images'],
    at: Sequence[int] = AT,
    trapezoids: bool = False,
    over_ranks: bool = False,
    depth: int | None = None,
    index: str = 'exact',
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
    bank = images = _Labelled(features, labels)
    if over_ranks:
        own = own + rows_before(labels)
        bank = _Labelled(gather_over_ranks(features), gather_over_ranks(labels))
    return _retrieval(bank, images, own, at, trapezoids, over_ranks, depth, index)


def _retrieval(
    bank: _Labelled,
    queries: _Labelled,
    own: Int[Tensor, ' queries'],
    at: Sequence[int],
    trapezoids: bool,
    over_ranks: bool,
    depth: int | None,
    index: str,
) -> dict[str, float]:
    """`own` is the number of each query in the bank, -1 if it is not in it."""
    _check_labels(bank.labels, queries.labels, over_ranks)
    if depth is None:
        if index != 'exact':
            raise ValueError(f'index={index!r} needs a depth, the number of nearest images to rank.')
        scores = _whole_ranking(bank, queries, own, at, trapezoids)
    else:
        if max(at) > depth:
            raise ValueError(f'depth={depth} is less than {max(at)} of at={tuple(at)}: rank as many images.')
        scores = _cut_off(bank, queries, own, at, trapezoids, depth, index)
    return mean_scores(scores, at, over_ranks, 'another image of its class')


def _whole_ranking(
    bank: _Labelled, queries: _Labelled, own: Int[Tensor, ' queries'], at: Sequence[int], trapezoids: bool
) -> QueryScores:
    features = unit_features(bank.features, 'bank')
    numbers = torch.arange(len(features), device=features.device)

    def judge(some: slice) -> tuple[Bool[Tensor, 'some bank'], Bool[Tensor, 'some bank']]:
        return queries.labels[some, None] == bank.labels, own[some, None] == numbers

    return score_queries(features, unit_features(queries.features, 'queries'), judge, at, trapezoids)


def _cut_off(
    bank: _Labelled,
    queries: _Labelled,
    own: Int[Tensor, ' queries'],
    at: Sequence[int],
    trapezoids: bool,
    depth: int,
    index: str,
) -> QueryScores:
    k = min(depth + 1, len(bank.labels))  # the query itself may be one of them
    similarities, numbers = indexed_nearest(bank.features, queries.features, k, index)
    relevant = bank.labels[numbers.clamp(min=0)] == queries.labels[:, None]
    ranked = ranked_relevance(similarities, relevant, (numbers < 0) | (numbers == own[:, None]))[:, :depth]
    classes = int(max(bank.labels.max(), queries.labels.max())) + 1 if len(queries.labels) else 0
    of_class = torch.bincount(bank.labels[bank.labels >= 0], minlength=classes)
    num_relevant = of_class[queries.labels] - (own >= 0).long()
    precision = average_precision(ranked, trapezoids, num_relevant.clamp(max=depth))
    return QueryScores(precision, precision_at(ranked, at, num_relevant))


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
