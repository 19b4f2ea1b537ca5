"""Cross-entropy with targets that are distributions, in little memory: what DINO and iBOT are made of."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dino_plugin.core.schedules import Schedule, schedule_between

PIECE = 2**21  # bytes of one tensor that a CPU's thread works on at once: they fit into its caches, and are not too few


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
        targets_of: Sequence[tuple[int, ...]],
    ) -> Float[Tensor, '']:
        difference = torch.empty_like(scores) if ctx.needs_input_grad[0] else None
        scale = (weights / temperature)[..., None]
        entropies = torch.empty_like(weights)
        for piece in _pieces(scores):
            means = {some: _mean([targets[number, piece] for number in some]) for some in set(targets_of)}
            totals = {some: mean.sum(dim=-1, keepdim=True) for some, mean in means.items()}  # 1, but for rounding
            for view, some in enumerate(targets_of):
                mine = scores[view, piece].float()
                logits = (mine - mine.amax(dim=-1, keepdim=True)).mul_(1 / temperature)
                expected = (logits * means[some]).sum(dim=-1)
                sums = logits.exp_().sum(dim=-1, keepdim=True)  # logits are exponentials from here on
                entropies[view, piece] = (totals[some] * sums.log())[..., 0] - expected
                if difference is not None:
                    factor, found = scale[view, piece], difference[view, piece]
                    torch.addcmul(logits.mul_(factor * totals[some] / sums), factor, means[some], value=-1, out=found)
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
    targets_of: Sequence[tuple[int, ...]],
) -> Float[Tensor, '']:
    """Weighted sum over views and samples of the cross-entropy with the mean of some target distributions.

    L = -sum_vi weights[v, i] sum_k q[v, i, k] * log softmax(scores[v, i] / temperature)[k]
    dL/dscores[v, i, k] = weights[v, i] / temperature * (softmax(scores[v, i] / temperature)[k] - q[v, i, k])

    q[v] is the mean of targets[t] over all t in targets_of[v]. The gradient goes to the scores alone, and only once:
    there is no second derivative.

    Args:
        scores: Before the softmax.
        targets: Each row sums to 1, but for rounding, which is taken into account; they carry no gradient.
        weights: They carry no gradient.
        temperature: Divides the scores.
        targets_of: For each view the numbers of its targets, one or more.

    Returns:
        The loss in nats, computed in float32 under any autocast.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return _SoftCrossEntropy.apply(scores, targets.float(), weights.float(), temperature, targets_of)


def temperature_schedule(value: object, name: str) -> Schedule:
    """A schedule of temperatures, refused with this name where one divides by nearly nothing or less."""
    return schedule_between(value, name, 1e-6)


def _mean(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(dim=0)


def _pieces(scores: Float[Tensor, 'views samples prototypes']) -> list[slice]:
    """All samples at once on a GPU; on a CPU as many as fit into the caches of its threads."""
    _, samples, prototypes = scores.shape
    at_once = samples if scores.device.type != 'cpu' else PIECE * torch.get_num_threads() // (4 * prototypes)
    return [slice(start, start + max(1, at_once)) for start in range(0, samples, max(1, at_once))]
