"""Similarities by rounded numbers, and how far off they are at most: the nearest, exactly, for less multiplication."""

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.linalg import vector_norm

PREFILTERS = ('int8', 'bfloat16')

ROOM = 1.25  # above the largest number seen at first, for samples written later


class RoundedQueries(NamedTuple):
    """Queries to multiply with rounded samples: similarity = product * scale + shift, give or take `error`."""

    values: Tensor
    scale: Float[Tensor, ' queries']
    shift: Float[Tensor, ' queries']
    error: Float[Tensor, ' queries']


class RoundedSamples:
    """Samples in 8-bit or 16-bit numbers, less what they have in common.

    With c the centre of the samples b, and q' and b' the rounded q and b - c,

    q.b = q.c + q'.b' + (q - q').(b - c) + q'.(b - c - b')
    |q.b - q.c - q'.b'| <= |q - q'| max |b - c| + |q'| max |b - c - b'|

    where all norms are those of the vectors at hand. So a sample whose rounded similarity is below that of the k-th
    nearest by more than twice this is not among the nearest. q.c is the same for all samples and orders nothing, but
    taking it away leaves small vectors, and small errors.

    Args:
        samples: From these come the centre and the step of the rounding; they are written to the first places.
        prefilter: 'int8' needs a CPU and is fast on those with VNNI or AMX; 'bfloat16' is for GPUs and CPUs with AMX.
        places: For samples in all, along the first axis; default: as many as there are.

    Raises:
        ValueError: If `prefilter` is not one of these, or 'int8' and the samples are not on a CPU.
    """

    def __init__(self, samples: Float[Tensor, 'first *more dim'], prefilter: str, places: int | None = None) -> None:
        if prefilter not in PREFILTERS:
            raise ValueError(f"prefilter must be 'int8', 'bfloat16' or None, got {prefilter!r}.")
        if prefilter == 'int8' and samples.device.type != 'cpu':
            raise ValueError(f"prefilter='int8' is for CPUs, features are on {samples.device}: use 'bfloat16' or None.")
        self.dtype = getattr(torch, prefilter)
        shape = (len(samples) if places is None else places, *samples.shape[1:])
        self.values = torch.empty(shape, dtype=self.dtype, device=samples.device)
        self.centre = samples.flatten(0, -2).mean(dim=0)
        self.step = self._steps(ROOM * (samples - self.centre).abs().amax())
        self.longest = self.lost = torch.zeros((), device=samples.device)
        self.write(0, samples)

    def write(self, place: int, samples: Float[Tensor, 'some *more dim']) -> None:
        """Rounds samples into `values` from `place` on; the bound holds for these and all that were written before."""
        centred = samples - self.centre
        self.values[place : place + len(samples)], lost = self._rounded(centred, self.step)
        self.lost = torch.maximum(self.lost, lost.amax())
        self.longest = torch.maximum(self.longest, vector_norm(centred, dim=-1).amax())

    def fits(self, samples: Float[Tensor, 'some *more dim']) -> bool:
        """Whether their numbers are in the range of the rounding; others would be cut, and the bound of little use."""
        return self.dtype != torch.int8 or bool((samples - self.centre).abs().amax() <= 127 * self.step)

    def queries(self, queries: Float[Tensor, 'queries dim']) -> RoundedQueries:
        """Rounds them, each by a step of its own."""
        steps = self._steps(queries.abs().amax(dim=1))
        values, lost = self._rounded(queries, steps[:, None])
        lengths = vector_norm(queries, dim=1)
        # What float32 itself rounds away, and bfloat16 of a product, whose sums a GPU may round in between, too.
        slack = 2**-16 * (lengths + 1) + (0 if self.dtype == torch.int8 else 2**-7 * lengths * self.longest)
        error = lost * self.longest + (lengths + lost) * self.lost + slack
        return RoundedQueries(values, steps * self.step, queries @ self.centre, error)

    def _steps(self, largest: Float[Tensor, '*shape']) -> Float[Tensor, '*shape']:
        return largest.clamp(min=1e-12) / 127 if self.dtype == torch.int8 else torch.ones_like(largest)

    def _rounded(self, vectors: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded multiples of the step, and the length of what that takes away."""
        if self.dtype == torch.int8:
            multiples = (vectors / step).round_().clamp_(-127, 127)
            return multiples.to(torch.int8), vector_norm(multiples.mul_(step).sub_(vectors), dim=-1)
        values = (vectors / step).to(self.dtype)
        return values, vector_norm(values.float() * step - vectors, dim=-1)


def products(queries: Tensor, samples: Tensor) -> Tensor:
    """Inner products of all pairs, `queries samples`; of 8-bit numbers in 32 bits."""
    if queries.dtype == torch.int8:
        return torch._int_mm(queries, samples.T)
    if len(queries) == 1:  # of a matrix and a vector the products of equal rows may differ
        return (queries.expand(2, -1) @ samples.T)[:1]
    return queries @ samples.T


def resolve(
    queries: Float[Tensor, 'queries dim'],
    samples: Float[Tensor, 'samples dim'],
    candidates: Int[Tensor, 'queries candidates'],
    about: Float[Tensor, 'queries candidates'],
    k: int,
    error: Float[Tensor, ' queries'],
) -> tuple[Float[Tensor, 'queries candidates'], Float[Tensor, ' queries']]:
    """Similarities in float32 of all candidates that may be among the k nearest; -inf for the others.

    Args:
        queries: As they are, not rounded.
        samples: Likewise.
        candidates: Numbers of samples.
        about: Their rounded similarities; -inf where there is no candidate.
        k: Number of nearest samples that are looked for.
        error: How far rounded similarities may be off.

    Returns:
        Besides, what was left out for: a sample whose rounded similarity is less is not among the k nearest, nor as
        similar as the k-th.
    """
    exists = ~about.isneginf()
    best = about.topk(min(k, about.shape[1]), dim=1).indices
    first = torch.zeros_like(exists).scatter_(1, best, True) & exists
    similarities = _similarities_at(queries, samples, candidates, first)
    # The k-th nearest is at least as similar as the least of any k samples.
    least = similarities.gather(1, best).amin(dim=1) - error
    rest = _similarities_at(queries, samples, candidates, (about >= least[:, None]) & exists & ~first)
    return torch.maximum(similarities, rest), least


def _similarities_at(
    queries: Float[Tensor, 'queries dim'],
    samples: Float[Tensor, 'samples dim'],
    candidates: Int[Tensor, 'queries candidates'],
    wanted: Bool[Tensor, 'queries candidates'],
) -> Float[Tensor, 'queries candidates']:
    """Inner products where wanted, -inf elsewhere; the same vectors always give the same."""
    rows = torch.cat([wanted.new_zeros(1, dtype=torch.long), wanted.sum(dim=1).cumsum(dim=0)])
    columns = candidates[wanted]
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Sparse CSR tensor support is in beta')
        pairs = torch.sparse_csr_tensor(
            rows, columns, queries.new_zeros(len(columns)), (len(queries), len(samples)), check_invariants=False
        )
        found = torch.sparse.sampled_addmm(pairs, queries, samples.T, beta=0).values()
    return queries.new_full(candidates.shape, -torch.inf).masked_scatter_(wanted, found)
