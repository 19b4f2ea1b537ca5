"""Run a captured batch again, and find the first place where a number is not finite."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor

from dino_plugin.commands.command_line import fail
from dino_plugin.commands.module_watch import ModuleWatch, Passed, is_finite, largest
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.engine.training.loops import iteration_seed
from dino_plugin.engine.training.model import SelfDistillationModel
from dino_plugin.registry import MODELS
from dino_plugin.weights.safe_loading import load_checkpoint

_NEEDED = {'batches', 'state_dict', 'model', 'backbone', 'precision', 'seed', 'rank'}
_SHOWN = 5  # names of images or tensors in a message
_BEFORE = 8  # modules in the table, before the first that broke
_LARGEST_FP16 = 65504.0


class Outcome(NamedTuple):
    """What running a batch again showed.

    Attributes:
        losses: By name.
        reproduced: Whether something was not finite.
        said: The place, and what to do, in words.
        table: What went through the modules up to there.
    """

    losses: dict[str, float]
    reproduced: bool
    said: list[str]
    table: list[Passed]


def read_capture(path: str | Path) -> dict[str, Any]:
    """The content of a file of `CaptureHook`.

    Raises:
        SystemExit: If it is something else; and as `load_checkpoint` refuses files.
    """
    content = load_checkpoint(path)
    if missing := sorted(_NEEDED - content.keys()):
        fail(
            f'{path} is no captured batch, it has no {", ".join(missing)}. Training writes them to WORK_DIR/not_finite.'
        )
    return content


def build_model(capture: Mapping[str, Any], device: str) -> SelfDistillationModel:
    """The model as it met the batch; no other file is read, unless there is a frozen teacher."""
    init_default_scope(capture.get('default_scope', 'mmengine'))
    config = ConfigDict(capture['model'])
    config.pop('checkpoint', None)
    described = capture['backbone']
    if 'timm_arguments' in described:
        arguments = {key: value for key, value in described['timm_arguments'].items() if key != 'num_classes'}
        config.backbone.update(arguments, model_name=described['model_name'], pretrained=False)
        config.backbone.pop('compile_blocks', None)  # compiled blocks call no hooks
    config.backbone.pop('checkpoint', None)
    model = MODELS.build(config)
    model.load_state_dict(capture['state_dict'])
    return model.to(device)


def replay(capture: Mapping[str, Any], number: int, precision: str, device: str) -> Outcome:
    """Run one of the batches, forward and backward.

    Args:
        capture: As from `read_capture`.
        number: Which of its batches; there are several with gradient accumulation.
        precision: 'fp32', 'bf16' or 'fp16'.
        device: Such as 'cpu' or 'cuda'.
    """
    batch = capture['batches'][number]
    model = build_model(capture, device)
    model.train()
    model.progress = batch['progress']
    views = ViewBatch(**{name: tensor.to(device) for name, tensor in batch['views'].items()})
    said = _not_finite_before(views, batch['images'], capture['state_dict'])
    torch.manual_seed(iteration_seed(capture['seed'], capture['rank'], batch['iteration']))
    dtype = PRECISIONS[precision]
    autocast = torch.autocast(torch.device(device).type, dtype=dtype) if dtype else nullcontext()
    with ModuleWatch(model) as watch, torch.autograd.set_detect_anomaly(True, check_nan=False):
        with autocast:
            losses = model(views, mode='loss')
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if all(map(is_finite, map(abs, values.values()))):
            sum(losses.values()).backward()
    return _judged(watch, values, said, model, precision)


def _judged(
    watch: ModuleWatch, values: dict[str, float], said: list[str], model: SelfDistillationModel, precision: str
) -> Outcome:
    place, gradient = watch.first_broken, watch.first_broken_gradient
    if place is not None:
        said = [*said, _about_forward(watch.forward, place, precision)]
        return Outcome(values, True, said, watch.forward[max(0, place - _BEFORE) : place + 1])
    if gradient is not None:
        before, first = gradient
        said = [*said, _about_gradient(before, first)]
        place = watch.backward.index(first)
        return Outcome(values, True, said, watch.backward[max(0, place - _BEFORE) : place + 1])
    bad = [name for name, parameter in model.named_parameters() if not is_finite(largest(parameter.grad))]
    if bad:
        said = [*said, f'The gradient of {_first(bad)} is not finite, and everything before it is.']
    return Outcome(values, bool(said), said, sorted(watch.forward, key=lambda passed: -passed.largest_out)[:_BEFORE])


def _not_finite_before(views: ViewBatch, images: list, state: Mapping[str, Tensor]) -> list[str]:
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


def _about_forward(passed: list[Passed], place: int, precision: str) -> str:
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


def _about_gradient(before: Passed | None, first: Passed) -> str:
    after = (
        'the loss itself' if before is None else f'{before.name} ({before.kind}), where it was {before.largest_out:.4g}'
    )
    return (
        f'The forward pass is finite, the backward pass is not: the gradient at the output of {first.name} '
        f'({first.kind}) is the first that is not finite, after {after}. An operation between the two has no finite '
        'derivative there, such as a root or a norm of 0, or the gradient overflows: try --precision fp32.'
    )


def _first(names: Iterable[str]) -> str:
    found = list(names)
    return ', '.join(found[:_SHOWN]) + (f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else '')
