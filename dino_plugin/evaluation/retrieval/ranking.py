"""Rankings -> average precision and precision at k, with images that do not count."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dino_plugin.core.reduce import sum_over_ranks

AT = (1, 5, 10)
MOST_PAIRS = 2**24  # of queries and images that are sorted at once

Judgement = tuple[Bool[Tensor, 'queries bank'], Bool[Tensor, 'queries bank']]


class QueryScores(NamedTuple):
    """What each query reached, from 0 to 1; NaN where no image of the bank is relevant."""

    average_precision: Float[Tensor, ' queries']
    precision_at: Float[Tensor, 'queries numbers']


def ranked_relevance(
    similarities: Float[Tensor, 'queries bank'],
    relevant: Bool[Tensor, 'queries bank'],
    ignored: Bool[Tensor, 'queries bank'],
) -> Bool[Tensor, 'queries bank']:
    """Whether the most similar image is relevant, the second one, and so on.

    Ignored images are taken out of the ranking, which moves what follows up; False fills the end. Of equally similar
    images the relevant ones come last. So the result does not depend on the order of the bank, and features that are
    all the same do not look good.

    Args:
        similarities: The larger, the more alike.
        relevant: Right answers.
        ignored: Neither right nor wrong: junk, or the query itself. Ignored images are not relevant, whatever
            `relevant` says.
    """
    relevant = relevant & ~ignored
    similarities = similarities.masked_fill(ignored, -torch.inf)
    last_of_equals = relevant.byte().argsort(dim=1, stable=True)
    order = similarities.gather(1, last_of_equals).argsort(dim=1, descending=True, stable=True)
    return relevant.gather(1, last_of_equals).gather(1, order)


def average_precision(
    ranked: Bool[Tensor, 'queries bank'], trapezoids: bool = False, num_relevant: Tensor | None = None
) -> Float[Tensor, ' queries']:
    """Area below the curve of precision over recall; NaN without relevant images.

    AP = 1 / R * sum over the relevant positions n of hits(n) / n

    Args:
        ranked: As `ranked_relevance` gives it.
        trapezoids: Average the precisions before and after each relevant image, hits(n - 1) / (n - 1) and hits(n) / n,
            instead of the one after it; before the first position the precision is 1. So do the evaluations of Oxford,
            Paris, Holidays and Copydays.
        num_relevant: R, where the ranking is cut off and does not hold all relevant images.
    """
    hits = ranked.cumsum(dim=1)
    positions = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
    precision = hits / positions
    if trapezoids:
        before = torch.ones_like(precision)
        before[:, 1:] = precision[:, :-1]
        precision = (precision + before) / 2
    num_relevant = hits[:, -1] if num_relevant is None else num_relevant
    return (precision * ranked).double().sum(dim=1).float() / num_relevant  # 0 / 0 is NaN


def precision_at(
    ranked: Bool[Tensor, 'queries bank'], numbers: Sequence[int], num_relevant: Tensor | None = None
) -> Float[Tensor, 'queries numbers']:
    """Share of relevant images among the first k, for each number k; NaN without relevant images.

    Where the last relevant image comes before position k, k is that position: a query with three relevant images, all
    found first, reaches 1 also at k = 10. So does the evaluation of the revisited Oxford and Paris.

    Args:
        ranked: As `ranked_relevance` gives it.
        numbers: The ks, each at least 1.
        num_relevant: As in `average_precision`; the numbers k must not exceed the length of a ranking that is cut off.
    """
    hits = ranked.cumsum(dim=1)
    positions = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
    last = (ranked * positions).amax(dim=1)
    if num_relevant is not None:
        last = last.where(hits[:, -1] >= num_relevant, ranked.shape[1])
    ends = torch.stack([last.clamp(max=k) for k in numbers], dim=1)
    return hits.gather(1, (ends - 1).clamp(min=0)) / ends.where(ends > 0, torch.nan)


def score_queries(
    bank: Float[Tensor, 'bank dim'],
    queries: Float[Tensor, 'queries dim'],
    judge: Callable[[slice], Judgement],
    at: Sequence[int] = AT,
    trapezoids: bool = False,
) -> QueryScores:
    """Rank the whole bank for each query by inner products, some queries at a time.

    Args:
        bank: Features in float32, of length 1 if similarities are to be cosines.
        queries: Likewise.
        judge: Some queries -> which images of the bank are relevant to them, and which are ignored.
        at: Numbers k, see `precision_at`.
        trapezoids: As in `average_precision`.

    Raises:
        ValueError: If a number of `at` is below 1, or the bank is empty.
    """
    if not at or min(at) < 1:
        raise ValueError(f'at={tuple(at)}: give numbers of nearest images, each at least 1.')
    if len(bank) == 0:
        raise ValueError('There are no images to search among: the bank is empty.')
    precisions, shares = [queries.new_zeros(0)], [queries.new_zeros(0, len(at))]
    chunk = max(1, MOST_PAIRS // len(bank))
    for start in range(0, len(queries), chunk):
        some = slice(start, min(start + chunk, len(queries)))
        with torch.autocast(queries.device.type, enabled=False):
            similarities = queries[some] @ bank.T
        ranked = ranked_relevance(similarities, *judge(some))
        precisions.append(average_precision(ranked, trapezoids))
        shares.append(precision_at(ranked, at))
    return QueryScores(torch.cat(precisions), torch.cat(shares))


def mean_scores(scores: QueryScores, at: Sequence[int], over_ranks: bool, relevant: str) -> dict[str, float]:
    """Means over the queries that have relevant images: `{'mAP': 61.2, 'mP@1': ..., 'queries': 70.0}`, in percent.

    Args:
        scores: Those of all queries; in a distributed run those of this process.
        at: Numbers k of `precision_at`.
        over_ranks: Mean over the queries of all processes, which all must call the function.
        relevant: What a relevant image is, for the message.

    Raises:
        ValueError: If no query has a relevant image.
    """
    valid = ~scores.average_precision.isnan()
    table = torch.cat([scores.average_precision[:, None], scores.precision_at], dim=1)[valid].double()
    sums = torch.cat([table.sum(dim=0), valid.sum().double()[None]])
    *totals, count = (sum_over_ranks(sums) if over_ranks else sums).tolist()
    if count == 0:
        raise ValueError(f'No query has {relevant} in the bank, so there is nothing to find.')
    names = ['mAP', *(f'mP@{k}' for k in at)]
    return {name: 100 * total / count for name, total in zip(names, totals, strict=True)} | {'queries': count}
