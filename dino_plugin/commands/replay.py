"""Run a captured batch again, and find the first place where a number is not finite."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from dino_plugin.commands.command_line import fail
from dino_plugin.commands.module_watch import ModuleWatch, Passed, is_finite
from dino_plugin.commands.replay_words import about_forward, about_gradient, about_share, not_finite_before
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.engine.training.loops import iteration_seed
from dino_plugin.engine.training.model import SelfDistillationModel
from dino_plugin.registry import MODELS
from dino_plugin.weights.safe_loading import load_checkpoint

_NEEDED = {'batches', 'state_dict', 'model', 'backbone', 'precision', 'seed', 'rank'}
_BEFORE = 8  # modules in the table, before the first that broke


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


def read_capture(path: str | Path, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of a file of `CaptureHook`.

    Args:
        path: Of the file.
        config: Whose `model` and `default_scope` take the place of those in the file, as where a class has moved. Its
            weights still have to fit.

    Raises:
        SystemExit: If it is something else; and as `load_checkpoint` refuses files.
    """
    content = load_checkpoint(path)
    if config is not None:
        content |= dict(model=config['model'], default_scope=config.get('default_scope', 'mmengine'))
        content.setdefault('backbone', {})
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
    if config.backbone.get('pretrained'):
        config.backbone.pretrained = False
    try:
        model = MODELS.build(config)
        model.load_state_dict(capture['state_dict'])
    except Exception as error:  # a class that is gone or has changed may raise anything
        fail(f'the model of the batch cannot be built: {error}\nHas its code moved? Give --config FILE_OR_NAME.')
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
    said = not_finite_before(views, batch['images'], capture['state_dict'])
    torch.manual_seed(iteration_seed(capture['seed'], capture['rank'], batch['iteration']))
    dtype = PRECISIONS[precision]
    autocast = torch.autocast(torch.device(device).type, dtype=dtype) if dtype else nullcontext()
    with ModuleWatch(model) as watch, torch.autograd.set_detect_anomaly(True, check_nan=False):
        with autocast:
            losses = model(views, mode='loss')
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if all(map(is_finite, map(abs, values.values()))):
            scale = capture.get('scale', 1.0) if precision == 'fp16' else 1.0
            (scale * sum(losses.values())).backward()
    return _judged(watch, values, said, model, precision)


def _judged(
    watch: ModuleWatch, values: dict[str, float], said: list[str], model: SelfDistillationModel, precision: str
) -> Outcome:
    place, gradient = watch.first_broken, watch.first_broken_gradient
    if place is not None:
        said = [*said, about_forward(watch.forward, place, precision)]
        return Outcome(values, True, said, watch.forward[max(0, place - _BEFORE) : place + 1])
    if gradient is not None:
        before, first = gradient
        said = [*said, about_gradient(before, first), *about_share(model)]
        place = watch.backward.index(first)
        return Outcome(values, True, said, watch.backward[max(0, place - _BEFORE) : place + 1])
    said = [*said, *about_share(model)]
    return Outcome(values, bool(said), said, sorted(watch.forward, key=lambda passed: -passed.largest_out)[:_BEFORE])
