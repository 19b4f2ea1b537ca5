"""A replayed batch in words: what was not finite, where it began, and what to do."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from dino_plugin.commands.module_watch import Passed, is_finite, largest
from dino_plugin.core.views import ViewBatch

_SHOWN = 5  # names of images or tensors in a message
_LARGEST_FP16 = 65504.0


def not_finite_before(views: ViewBatch, images: list, state: Mapping[str, Tensor]) -> list[str]:
    """What is not finite before anything runs."""
    said = []
    for name in ('global_views', 'local_views', 'anchor_views'):
        block = getattr(views, name)
        if block is not None and not block.isfinite().all():
            bad = (~block.isfinite()).flatten(2).any(dim=2).any(dim=0).nonzero()[:, 0].tolist()
            names = [images[number][0] if images else f'image {number} of the batch' for number in bad]
            said.append(
                f'{name} of {_first(names)} hold NaN or infinity before the network sees them. Look at these files; '
                'floats with missing values need nodata=... of dino_plugin.LoadChannels (docs/channels.md).'
            )
    if wrong := [key for key, value in state.items() if not is_finite(largest(value))]:
        said.append(
            f'{len(wrong)} tensors of the model were not finite before this batch: {_first(wrong)}. An earlier step '
            'did it. Resume from an earlier checkpoint.'
        )
    return said


def about_forward(passed: list[Passed], place: int, precision: str) -> str:
    """The module where the forward pass broke, and what to do."""
    broken = passed[place]
    if broken.broke:
        said = (
            f'The first module that gave something not finite is {broken.name} ({broken.kind}): it was given numbers '
            f'up to {broken.largest_in:.4g} in magnitude.'
        )
    elif place:
        before = passed[place - 1]
        said = (
            f'What {broken.name} ({broken.kind}) was given is not finite; {before.name} ({before.kind}) before it gave '
            f'numbers up to {before.largest_out:.4g}. A function between the two did it, such as the product of '
            'queries and keys, a norm or a division.'
        )
    else:
        said = f'What {broken.name} ({broken.kind}), the first module, was given is not finite.'
    if '.losses.' in f'.{broken.name}.':
        return f'{said} It is a loss: look at its temperatures and at the length of what the head gives.'
    if precision == 'fp16':
        return (
            f'{said} fp16 ends at {_LARGEST_FP16:,.0f}. Try --precision bf16 and fp32 here; if they are finite, train '
            "with precision='bf16' or 'fp32'."
        )
    return f'{said} Try --precision fp32 here. If that is not finite either, lower the learning rate or max_norm.'


def about_gradient(before: Passed | None, first: Passed) -> str:
    """The module where the backward pass broke."""
    after = (
        'the loss itself' if before is None else f'{before.name} ({before.kind}), where it was {before.largest_out:.4g}'
    )
    return (
        f'The forward pass is finite, the backward pass is not: the gradient at the output of {first.name} '
        f'({first.kind}) is the first that is not finite, after {after}. An operation between the two has no finite '
        'derivative there, such as a root or a norm of 0, or the gradient overflows: try --precision fp32.'
    )


def about_share(model: nn.Module) -> list[str]:
    """How much of the gradient is not finite, and of which parameters; nothing if all of it is finite."""
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    wrong = {name: int((~gradient.isfinite()).sum()) for name, gradient in gradients.items()}
    bad = [name for name, number in wrong.items() if number]
    if not bad:
        return []
    share = sum(wrong.values()) / sum(gradient.numel() for gradient in gradients.values())
    return [f'{share:.1%} of the gradient is not finite, in {len(bad)} of {len(gradients)} parameters: {_first(bad)}.']


def _first(names: Iterable[str]) -> str:
    found = list(names)
    return ', '.join(found[:_SHOWN]) + (f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else '')
