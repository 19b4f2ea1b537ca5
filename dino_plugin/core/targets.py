"""Targets: the teacher's scores -> distributions that the student learns to predict.

Both classes keep the teacher from giving every image the same distribution (collapse). Statistics of the scores are
buffers, so a resumed run keeps them.
"""

import torch
from jaxtyping import Float
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

    Args:
        iterations: Rounds of normalisation; at least 1.

    References:
        Caron et al. 2020, arXiv:2006.09882, section 3.1; with three iterations in Oquab et al. 2023,
        arXiv:2304.07193, section 4.
    """

    def __init__(self, iterations: int = 3) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f'SinkhornKnopp: iterations={iterations}; at least one round is needed.')
        self.iterations = iterations

    @torch.no_grad()
    def forward(
        self, scores: Float[Tensor, '*leading prototypes'], temperature: float
    ) -> Float[Tensor, '*leading prototypes']:
        """Probabilities in float32, each row summing to 1; all samples of all leading axes together."""
        logits = full_precision(scores).flatten(end_dim=-2) / temperature
        for _ in range(self.iterations):
            logits = logits - _logsumexp_over_samples(logits)
            logits = logits.log_softmax(dim=1)
        return logits.exp().view(scores.shape)


def _logsumexp_over_samples(logits: Float[Tensor, 'samples prototypes']) -> Float[Tensor, '1 prototypes']:
    """log sum_i exp(logits[i]) over the samples of all ranks; ranks may have different numbers of samples."""
    local = logits.logsumexp(dim=0, keepdim=True)
    largest = max_over_ranks(local)
    return largest + sum_over_ranks((local - largest).exp()).log()
