"""Cross-entropy with targets that are distributions, in little memory: what DINO and iBOT are made of."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class _SoftCrossEntropy(torch.autograd.Function):
    """The gradient is found on the way forward, where the softmax is at hand, and is all that is kept for later.

    It has the size and the dtype of the scores, where autograd would keep several tensors of that size in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Float[Tensor, 'samples prototypes'],
        targets: Float[Tensor, 'samples prototypes'],
        weights: Float[Tensor, ' samples'],
        temperature: float,
    ) -> Float[Tensor, '']:
        log_probabilities = (scores.float() / temperature).log_softmax(dim=-1)
        loss = (-weights * torch.linalg.vecdot(targets, log_probabilities)).sum()
        if ctx.needs_input_grad[0]:
            difference = log_probabilities.exp_().mul_(targets.sum(dim=1, keepdim=True)).sub_(targets)
            ctx.save_for_backward(difference.mul_((weights / temperature)[:, None]).to(scores.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, '']) -> tuple[Tensor, None, None, None]:
        (difference,) = ctx.saved_tensors
        return difference * gradient.to(difference.dtype), None, None, None


def soft_cross_entropy(
    scores: Float[Tensor, 'samples prototypes'],
    targets: Float[Tensor, 'samples prototypes'],
    weights: Float[Tensor, ' samples'],
    temperature: float,
) -> Float[Tensor, '']:
    """Weighted sum over samples of the cross-entropy with a target distribution.

    L = -sum_i weights[i] sum_k targets[i, k] * log softmax(scores[i] / temperature)[k]
    dL/dscores[i, k] = weights[i] / temperature * (softmax(scores[i] / temperature)[k] - targets[i, k])

    The gradient goes to the scores alone, and only once: there is no second derivative.

    Args:
        scores: Before the softmax.
        targets: Each row sums to 1, but for rounding; they carry no gradient.
        weights: Of the samples; they carry no gradient.
        temperature: Divides the scores.

    Returns:
        The loss in nats, computed in float32 under any autocast.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return _SoftCrossEntropy.apply(scores, targets.float(), weights.float(), temperature)
