"""Targets: the teacher's scores -> distributions that the student learns to predict.

Both classes keep the teacher from giving every image the same distribution (collapse). Statistics of the scores are
buffers, so a resumed run keeps them.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dino_plugin.core.precision import full_precision
from dino_plugin.core.reduce import max_over_ranks, sum_over_ranks


class Centering(nn.Module):
    """Subtract a running mean of the teacher's scores, then sharpen.

    probabilities = softmax((scores - center) / temperature)
    center <- momentum * center + (1 - momentum) * mean of scores over views, batch and ranks

    The centre from *before* this batch is subtracted. It moves in training mode only, and not after a batch that is
    empty or has scores that are not finite: it would stay NaN. All samples of all ranks have equal weight.

    Args:
        prototypes: Number of scores K.
        momentum: Share of the old centre that is kept, in [0, 1).

    References:
        Caron et al. 2021, arXiv:2104.14294, equation 4 and algorithm 1.
    """

    center: Float[Tensor, ' prototypes']

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(
                f'Centering: momentum={momentum} is not in [0, 1); it is the share of the old centre that is kept.'
            )
        self.momentum = momentum
        self.register_buffer('center', torch.zeros(prototypes))

    @torch.no_grad()
    def forward(
        self, scores: Float[Tensor, '*leading prototypes'], temperature: float
    ) -> Float[Tensor, '*leading prototypes']:
        """Probabilities in float32, each row summing to 1; then the centre moves."""
        scores = full_precision(scores)
        probabilities = (scores - self.center).div_(temperature).softmax(dim=-1)
        if self.training:
            samples = scores.flatten(end_dim=-2)
            total = sum_over_ranks(torch.cat([samples.sum(dim=0), samples.new_tensor([len(samples)])]))
            batch_mean = total[:-1] / total[-1]
            moved = torch.lerp(batch_mean, self.center.to(batch_mean.dtype), self.momentum)
            self.center.copy_(torch.where(moved.isfinite().all(), moved, self.center))
        return probabilities


class SinkhornKnopp(nn.Module):
    """Assign the samples to the prototypes, with equal shares for all prototypes.

    Q[k, i] = exp(scores[i, k] / temperature); then, ``iterations`` times:
        each prototype's row is divided by its sum (over all samples of all ranks) and by K,
        each sample's column is divided by its sum and by the number of samples;
    finally each sample's column is scaled to sum to 1.

    It is computed with logarithms: exp(scores / temperature) overflows float32 for a score of 9 at temperature 0.1, and
    a prototype far from all samples would divide zero by zero.

    A small batch has fewer samples than prototypes, so equal shares of it mean little. With a ``queue`` the scores of
    the last samples take part in the normalisation as if they were in the batch, and get no target. At batch 16 a queue
    of 480 balances over as many samples as a batch of 256 with two views. The scores are those of earlier teachers,
    which move slowly. Each rank keeps its own, and shares are taken over all ranks. The queue is a buffer: it is saved,
    and a skipped step leaves no trace in it.

    Args:
        iterations: Rounds of normalisation; at least 1.
        queue: Number of samples that are kept; two views of an image are two samples.
        prototypes: Number of scores K, for the queue; the model fills it in.

    Raises:
        ValueError: If there is no round, the queue is negative, or it has no number of prototypes.

    References:
        Caron et al. 2020, arXiv:2006.09882, section 3.1, and 4.1 for the queue, which there holds features that are
        scored anew; with three iterations in Oquab et al. 2023, arXiv:2304.07193, section 4.
    """

    kept: Float[Tensor, 'queue prototypes']

    def __init__(self, iterations: int = 3, queue: int = 0, prototypes: int | None = None) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f'SinkhornKnopp: iterations={iterations}; at least one round is needed.')
        if queue < 0 or (queue and not prototypes):
            raise ValueError(
                f'SinkhornKnopp: queue={queue} with prototypes={prototypes}; a queue is 0 or more samples, and needs '
                'to know the number of prototypes.'
            )
        self.iterations = iterations
        self.queue = queue
        if queue:
            self.register_buffer('kept', torch.zeros(queue, prototypes))
            self.register_buffer('num_kept', torch.tensor(0))

    @torch.no_grad()
    def forward(
        self, scores: Float[Tensor, '*leading prototypes'], temperature: float
    ) -> Float[Tensor, '*leading prototypes']:
        """Probabilities in float32, each row summing to 1; all samples of all leading axes together."""
        samples = full_precision(scores).flatten(end_dim=-2)
        if not self.queue:
            return balanced(samples / temperature, self.iterations).view(scores.shape)
        missing = torch.arange(self.queue, device=scores.device) >= self.num_kept
        absent = torch.cat([missing.new_zeros(len(samples)), missing])
        together = torch.cat([samples, self.kept.to(samples.dtype)])
        assigned = balanced(together / temperature, self.iterations, absent)[: len(samples)]
        if self.training:
            finite = samples.isfinite().all()  # NaN would stay for many steps
            self.kept.copy_(torch.where(finite, together[: self.queue], self.kept))
            self.num_kept.copy_(
                torch.where(finite, (self.num_kept + len(samples)).clamp(max=self.queue), self.num_kept)
            )
        return assigned.view(scores.shape)


def balanced(
    logits: Float[Tensor, '*groups samples prototypes'],
    iterations: int,
    absent: Bool[Tensor, '*groups samples'] | None = None,
) -> Float[Tensor, '*groups samples prototypes']:
    """The assignment, of each group by itself; samples that are absent take no share of the prototypes."""
    for _ in range(iterations):
        present = logits if absent is None else logits.masked_fill(absent[..., None], -math.inf)
        logits = (logits - _logsumexp_over_samples(present)).log_softmax(dim=-1)
    return logits.exp()


def _logsumexp_over_samples(
    logits: Float[Tensor, '*groups samples prototypes'],
) -> Float[Tensor, '*groups 1 prototypes']:
    """log sum_i exp(logits[i]) over the samples of all ranks; ranks may have different numbers of samples."""
    local = logits.logsumexp(dim=-2, keepdim=True)
    largest = max_over_ranks(local)
    return largest + sum_over_ranks((local - largest).exp()).log()
