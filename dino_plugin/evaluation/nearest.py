"""The nearest of many samples by cosine, exactly, without sorting all of them."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

GROUP = 32  # samples in a group, see `largest`
PART = 8192  # samples whose products are written at once


def unit_features(features: Float[Tensor, 'samples dim'], name: str) -> Float[Tensor, 'samples dim']:
    """Features of length 1, in float32.

    Raises:
        ValueError: If one is NaN or infinite; the message calls them by the name.
    """
    features = features.detach().float()
    lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    if not lengths.isfinite().all():  # fewer numbers than the features, with the same answer
        raise ValueError(f'Features of the {name} hold NaN, infinity or huge numbers: did training diverge?')
    return features / lengths.clamp(min=1e-12)


def largest(
    scores: Shaped[Tensor, 'queries samples'], k: int
) -> tuple[Shaped[Tensor, 'queries k'], Int[Tensor, 'queries k']]:
    """The k largest scores and their positions, largest first.

    The samples are split into groups. The k largest scores are in the k groups with the largest maxima: for a score in
    another group, each of these k groups holds one that is at least as large. So only k groups have to be sorted.

    Args:
        scores: Neighbouring samples form the groups; samples beyond the last whole group are always sorted.
        k: At most the number of samples. Which of equal scores are the last of the k is not defined.
    """
    num_groups = scores.shape[1] // GROUP
    if k >= num_groups:
        return scores.topk(k, dim=1)
    whole = num_groups * GROUP
    members = scores[:, :whole].unflatten(1, (num_groups, GROUP))
    groups = members.amax(dim=2).topk(k, dim=1, sorted=False).indices
    queries = torch.arange(len(scores), device=scores.device)[:, None]
    values, order = torch.cat([members[queries, groups].flatten(1), scores[:, whole:]], dim=1).topk(k, dim=1)
    groups = torch.cat([groups, groups.new_full((len(groups), 1), num_groups)], dim=1)
    return values, groups.gather(1, order // GROUP) * GROUP + order % GROUP


def nearest(
    bank: Float[Tensor, 'bank dim'], queries: Float[Tensor, 'queries dim'], k: int, query_chunk: int, bank_chunk: int
) -> Iterator[tuple[Float[Tensor, 'some k'], Int[Tensor, 'some k']]]:
    """Similarities (inner products) and numbers of the k nearest samples, nearest first, for some queries at a time.

    Args:
        bank: Samples, in float32.
        queries: In float32; the results come in their order.
        k: At most the size of the bank.
        query_chunk: Queries at a time.
        bank_chunk: Samples at a time.
    """
    # One buffer for all chunks: new memory for each takes a third of the time of the products.
    memory = bank.new_empty(min(query_chunk, len(queries)) * min(bank_chunk, len(bank)))
    for some in queries.split(query_chunk):
        best, numbers = _nearest_of_chunk(some, bank[:bank_chunk], k, memory)
        for start in range(bank_chunk, len(bank), bank_chunk):
            found, indices = _nearest_of_chunk(some, bank[start : start + bank_chunk], k, memory)
            candidates = torch.cat([best, found], dim=1)
            best, order = candidates.topk(min(k, candidates.shape[1]), dim=1)
            numbers = torch.cat([numbers, indices + start], dim=1).gather(1, order)
        yield best, numbers


def _nearest_of_chunk(
    queries: Float[Tensor, 'queries dim'], samples: Float[Tensor, 'samples dim'], k: int, memory: Tensor
) -> tuple[Float[Tensor, 'queries found'], Int[Tensor, 'queries found']]:
    scores = memory[: len(queries) * len(samples)].view(len(queries), len(samples))
    with torch.autocast(queries.device.type, enabled=False):
        for part, products in zip(samples.split(PART), scores.split(PART, dim=1)):  # small enough for a CPU's cache
            torch.mm(queries, part.T, out=products)
    return largest(scores, min(k, len(samples)))


def nearest_by_cosine(
    bank: Float[Tensor, 'bank dim'], queries: Float[Tensor, 'queries dim'], k: int, name: str = 'bank'
) -> tuple[Float[Tensor, 'queries k'], Int[Tensor, 'queries k']]:
    """Cosines and numbers of the k nearest samples of each query, nearest first.

    Args:
        bank: Samples of any length.
        queries: Likewise.
        k: 1 to the size of the bank.
        name: What the bank is, for messages.

    Raises:
        ValueError: If k does not fit the bank, or features are not finite.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f'{k} nearest of {len(bank)} {name}: ask for 1 to {len(bank)}.')
    found = nearest(unit_features(bank, name), unit_features(queries, 'queries'), k, 512, 131072)
    parts = list(found) or [(queries.new_zeros(0, k), queries.new_zeros(0, k, dtype=torch.long))]
    return tuple(torch.cat(part) for part in zip(*parts))
