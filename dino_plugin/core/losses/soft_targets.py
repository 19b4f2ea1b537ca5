"""Cross-entropy with targets that are distributions, in little memory: what DINO and iBOT are made of."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHE = 2**18  # bytes: what a core keeps at hand of each of the four or so tensors that one piece of the work needs


class _SoftCrossEntropy(torch.autograd.Function):
    """The gradient is found on the way forward, where the softmax is at hand, and is all that is kept for later.

    It has the size and the dtype of the scores, where autograd would keep several tensors of that size in float32.
    A CPU works on so few samples at a time that they stay in its cache from the first operation to the last.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Float[Tensor, 'views samples prototypes'],
        targets: Float[Tensor, 'targets samples prototypes'],
        weights: Float[Tensor, 'views samples'],
        temperature: float,
        target_of: Sequence[int],
    ) -> Float[Tensor, '']:
        difference = torch.empty_like(scores) if ctx.needs_input_grad[0] else None
        scale = (weights / temperature)[..., None]
        entropies = torch.empty_like(weights)
        for view, target in enumerate(target_of):
            for piece in _pieces(scores[view]):
                goal = targets[target, piece]
                logits = scores[view, piece].float()
                logits = (logits - logits.amax(dim=-1, keepdim=True)).div_(temperature)
                probabilities = logits.softmax(dim=-1)
                # The largest logit is 0, so the normaliser is the inverse of the largest probability.
                entropies[view, piece] = -probabilities.amax(dim=-1).log() - logits.mul_(goal).sum(dim=-1)
                if difference is not None:
                    torch.mul(probabilities.sub_(goal), scale[view, piece], out=difference[view, piece])
        if difference is not None:
            ctx.save_for_backward(difference)
        return (weights * entropies).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, '']) -> tuple[Tensor, None, None, None, None]:
        (difference,) = ctx.saved_tensors
        # A CPU sees at no cost that nothing is to be done, and saves a tensor; a GPU would have to be waited for.
        if gradient.device.type != 'cpu' or gradient != 1:
            difference = difference * gradient.to(difference.dtype)
        return difference, None, None, None, None


def soft_cross_entropy(
    scores: Float[Tensor, 'views samples prototypes'],
    targets: Float[Tensor, 'targets samples prototypes'],
    weights: Float[Tensor, 'views samples'],
    temperature: float,
    target_of: Sequence[int],
) -> Float[Tensor, '']:
    """Weighted sum over views and samples of the cross-entropy with a target distribution.

    L = -sum_vi weights[v, i] sum_k targets[t(v), i, k] * log softmax(scores[v, i] / temperature)[k]
    dL/dscores[v, i, k] = weights[v, i] / temperature * (softmax(scores[v, i] / temperature)[k] - targets[t(v), i, k])

    The gradient goes to the scores alone, and only once: there is no second derivative.

    Args:
        scores: Before the softmax.
        targets: Each row sums to 1, but for rounding; they carry no gradient.
        weights: They carry no gradient.
        temperature: Divides the scores.
        target_of: t(v), the number of the target of each view; several views may have the same.

    Returns:
        The loss in nats, computed in float32 under any autocast.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return _SoftCrossEntropy.apply(scores, targets.float(), weights.float(), temperature, target_of)


def _pieces(scores: Float[Tensor, 'samples prototypes']) -> list[slice]:
    """All samples at once on a GPU; on a CPU as many as fit into the caches of its threads."""
    samples, prototypes = scores.shape
    at_once = samples if scores.device.type != 'cpu' else CACHE * torch.get_num_threads() // (4 * prototypes)
    return [slice(start, start + max(1, at_once)) for start in range(0, samples, max(1, at_once))]
