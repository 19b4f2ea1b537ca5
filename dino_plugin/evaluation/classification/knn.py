"""Weighted k-nearest-neighbour classification of frozen features, as in DINO: exact, in one pass for all k."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks, rows_before, sum_over_ranks
from dino_plugin.evaluation.nearest import nearest, unit_features

NUM_RANKS = 5


def knn_predict(
    bank_features: Float[Tensor, 'bank dim'],
    bank_labels: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    query_chunk: int = 512,
    bank_chunk: int = 131072,
    own: Int[Tensor, ' queries'] | None = None,
) -> dict[int, Int[Tensor, 'queries ranks']]:
    """Rank the classes of each query by the votes of its k nearest bank samples.

    votes[q, c] = sum over the k nearest n with label c of exp(cosine(q, n) / temperature)

    The result is exact for any chunks. Classes with equal votes come in the order of their labels. Which of several
    equally similar samples is the k-th is not defined.

    Args:
        bank_features: Labelled samples; normalised here, in float32.
        bank_labels: 0 or more; the number of classes is the largest label + 1.
        query_features: Samples to classify.
        ks: Numbers of neighbours.
        temperature: Temperature of the votes; with small values the nearest neighbours count more.
        query_chunk: Queries at a time; with `bank_chunk` it decides only the memory (4 bytes for each pair).
        bank_chunk: Bank samples at a time.
        own: Number of the bank sample that each query is; it does not vote (leave-one-out).

    Returns:
        For each k the best classes, best first: at most five; -1 stands for no class.

    Raises:
        ValueError: If a k is below 1 or above the number of samples that vote, the temperature is not positive, a
            label is negative, or features are not finite.

    References:
        Wu et al. 2018, arXiv:1805.01978, section 3.4; Caron et al. 2021, arXiv:2104.14294, appendix F.
    """
    left_out = own is not None
    _check(bank_labels, ks, temperature, len(bank_labels) - left_out)
    num_classes = int(bank_labels.max()) + 1
    bank, queries = unit_features(bank_features, 'bank'), unit_features(query_features, 'queries')
    ranked: dict[int, list[Tensor]] = {k: [] for k in ks}
    done = 0
    for similarities, numbers in nearest(bank, queries, max(ks) + left_out, query_chunk, bank_chunk):
        if own is not None:
            similarities, numbers = _without_own(similarities, numbers, own[done : done + len(numbers)])
            done += len(numbers)
        for k, votes in class_votes(similarities, bank_labels[numbers], ks, num_classes, temperature):
            ranked[k].append(_ranked(votes))
    return {k: torch.cat(parts) for k, parts in ranked.items()}


def knn_accuracy(
    bank_features: Float[Tensor, 'bank dim'],
    bank_labels: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    query_labels: Int[Tensor, ' queries'],
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    over_ranks: bool = False,
) -> dict[str, float]:
    """Share of queries whose class has the most votes, in percent: `{'top1_k20': 74.5, 'top5_k20': ...}`.

    Top-5 is there if there are more than five classes.

    Args:
        bank_features: As in `knn_predict`, like the other arguments.
        over_ranks: Each process of a distributed run has its own part of bank and queries; the result, on each process,
            is that of all together. All processes must call the function.

    Raises:
        ValueError: As in `knn_predict`, and if there are no queries.
    """
    if over_ranks:
        bank_features, bank_labels = gather_over_ranks(bank_features), gather_over_ranks(bank_labels)
    ranked = knn_predict(bank_features, bank_labels, query_features, ks, temperature)
    return _accuracy(ranked, query_labels, int(bank_labels.max()) + 1, over_ranks)


def leave_one_out_accuracy(
    features: Float[Tensor, 'samples dim'],
    labels: Int[Tensor, ' samples'],
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    over_ranks: bool = False,
) -> dict[str, float]:
    """`knn_accuracy` of each sample against all others.

    It chooses settings on the training images alone, so that the test images are not looked at before the end.

    Args:
        features: As the bank of `knn_predict`, like the other arguments.
        over_ranks: As in `knn_accuracy`.

    Raises:
        ValueError: As in `knn_accuracy`.
    """
    bank, bank_labels, before = features, labels, 0
    if over_ranks:
        bank, bank_labels, before = gather_over_ranks(features), gather_over_ranks(labels), rows_before(labels)
    own = torch.arange(before, before + len(labels), device=labels.device)
    ranked = knn_predict(bank, bank_labels, features, ks, temperature, own=own)
    return _accuracy(ranked, labels, int(bank_labels.max()) + 1, over_ranks)


def _accuracy(
    ranked: Mapping[int, Tensor], query_labels: Int[Tensor, ' queries'], num_classes: int, over_ranks: bool
) -> dict[str, float]:
    tops = (1, NUM_RANKS) if num_classes > NUM_RANKS else (1,)
    hits = {f'top{top}_k{k}': (ranked[k][:, :top] == query_labels[:, None]).sum() for k in ranked for top in tops}
    counts = torch.stack([torch.tensor(len(query_labels), device=query_labels.device), *hits.values()])
    total, *right = (sum_over_ranks(counts) if over_ranks else counts).tolist()
    if total == 0:
        raise ValueError('There are no queries to classify: is their dataset empty?')
    return {name: 100 * count / total for name, count in zip(hits, right, strict=True)}


def _without_own(
    similarities: Float[Tensor, 'queries found'], numbers: Int[Tensor, 'queries found'], own: Int[Tensor, ' queries']
) -> tuple[Float[Tensor, 'queries fewer'], Int[Tensor, 'queries fewer']]:
    """One neighbour fewer: without the query itself, or the last where many equal samples keep it out of the list."""
    leave = numbers == own[:, None]
    leave[:, -1] |= ~leave.any(dim=1)
    shape = len(numbers), numbers.shape[1] - 1
    return similarities[~leave].view(shape), numbers[~leave].view(shape)


def _check(labels: Tensor, ks: Sequence[int], temperature: float, voters: int) -> None:
    if not ks or min(ks) < 1 or max(ks) > voters:
        raise ValueError(f'ks={tuple(ks)} do not fit {voters} samples that vote: each is 1 to {voters}.')
    if temperature <= 0:
        raise ValueError(f'temperature must be above 0, got {temperature}.')
    if int(labels.min()) < 0:
        raise ValueError(f'Labels of the bank must be 0 or more, got {int(labels.min())}: are the images labelled?')


def class_votes(
    similarities: Float[Tensor, 'queries k'],
    labels: Int[Tensor, 'queries k'],
    ks: Sequence[int],
    num_classes: int,
    temperature: float,
) -> Iterator[tuple[int, Float[Tensor, 'queries classes']]]:
    """Votes for each k, smallest k first, divided by the nearest neighbour's vote; one tensor, updated each time."""
    weights = ((similarities - similarities[:, :1]) / temperature).exp()
    votes = torch.zeros(len(similarities), num_classes, device=similarities.device)
    done = 0
    for k in sorted(set(ks)):
        votes.scatter_add_(1, labels[:, done:k], weights[:, done:k])
        done = k
        yield k, votes


def _ranked(votes: Float[Tensor, 'queries classes']) -> Int[Tensor, 'queries ranks']:
    """Classes by votes, most votes first, the smaller label first if votes are equal; -1 for no class.

    Each is sorted by an integer with the vote in its high bits and the label in its low bits: the bits of non-negative
    floats have the order of the floats.
    """
    labels = torch.arange(votes.shape[1], device=votes.device)
    keys = (votes.view(torch.int32).long() << 32) - labels
    best = keys.topk(min(NUM_RANKS, len(labels)), dim=1).values
    return torch.where(best > 0, -best & 0xFFFFFFFF, -1)
