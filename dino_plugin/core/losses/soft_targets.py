"""Cross-entropy with soft targets (distributions) in little memory, for DINO and iBOT."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dino_plugin.core.precision import full_precision
from dino_plugin.core.schedules import Schedule, schedule_between

PIECE = 2**21  # bytes of one tensor that one CPU thread works on at once; they fit into its caches


class _SoftCrossEntropy(torch.autograd.Function):
    """Computes the gradient in the forward pass, from the same softmax, and saves nothing else for the backward pass.

    The gradient has the size and dtype of the scores; autograd would save several tensors of that size in float32. On a
    CPU, pieces of the batch go through all operations while they are in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Float[Tensor, 'views samples prototypes'],
        targets: Float[Tensor, 'targets samples prototypes'],
        weights: Float[Tensor, 'views samples'],
        temperature: float,
        targets_of: Sequence[tuple[int, ...]],
    ) -> Float[Tensor, '']:
        gradient = torch.empty_like(scores) if ctx.needs_input_grad[0] else None
        scale = (weights / temperature)[..., None]
        entropies = torch.empty_like(weights)
        for piece in _pieces(scores):
            means = {chosen: _mean([targets[index, piece] for index in chosen]) for chosen in set(targets_of)}
            totals = {chosen: mean.sum(dim=-1, keepdim=True) for chosen, mean in means.items()}  # 1, but for rounding
            for view, chosen in enumerate(targets_of):
                logits = full_precision(scores[view, piece])
                logits = (logits - logits.amax(dim=-1, keepdim=True)).mul_(1 / temperature)
                expected = (logits * means[chosen]).sum(dim=-1)
                sums = logits.exp_().sum(dim=-1, keepdim=True)  # from here, logits holds the exponentials
                entropies[view, piece] = (totals[chosen] * sums.log())[..., 0] - expected
                if gradient is not None:
                    factor, part = scale[view, piece], gradient[view, piece]
                    torch.addcmul(
                        logits.mul_(factor * totals[chosen] / sums), factor, means[chosen], value=-1, out=part
                    )
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return (weights * entropies).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Float[Tensor, '']) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        # On a CPU this comparison saves a tensor; on a GPU the host would have to wait for its result.
        if factor.device.type != 'cpu' or factor != 1:
            gradient = gradient * factor.to(gradient.dtype)
        return gradient, None, None, None, None


def soft_cross_entropy(
    scores: Float[Tensor, 'views samples prototypes'],
    targets: Float[Tensor, 'targets samples prototypes'],
    weights: Float[Tensor, 'views samples'],
    temperature: float,
    targets_of: Sequence[tuple[int, ...]],
) -> Float[Tensor, '']:
    """Weighted sum over views and samples of the cross-entropy with the mean of some target distributions.

    L = -sum_vi weights[v, i] sum_k q[v, i, k] * log softmax(scores[v, i] / temperature)[k]
    dL/dscores[v, i, k] = weights[v, i] / temperature * (softmax(scores[v, i] / temperature)[k] - q[v, i, k])

    q[v] is the mean of targets[t] over all t in targets_of[v]. Only the scores get a gradient; there is no second
    derivative.

    Args:
        scores: Before the softmax.
        targets: Each row sums to 1 (rounding errors are taken into account); they carry no gradient.
        weights: They carry no gradient.
        temperature: Divides the scores.
        targets_of: For each view the indices of its targets, one or more.

    Returns:
        The loss in nats, computed in float32 under any autocast.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return _SoftCrossEntropy.apply(
            scores, full_precision(targets), full_precision(weights), temperature, targets_of
        )


def temperature_schedule(value: object, name: str) -> Schedule:
    """A schedule of temperatures of at least 1e-6; ``name`` is for the error message."""
    return schedule_between(value, name, 1e-6)


def _mean(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(dim=0)


def _pieces(scores: Float[Tensor, 'views samples prototypes']) -> list[slice]:
    """Slices of the samples: all at once on a GPU, on a CPU as many as fit into the caches of its threads."""
    _, samples, prototypes = scores.shape
    at_once = samples if scores.device.type != 'cpu' else PIECE * torch.get_num_threads() // (4 * prototypes)
    return [slice(start, start + max(1, at_once)) for start in range(0, samples, max(1, at_once))]
