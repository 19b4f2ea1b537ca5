"""A frozen teacher: a network with heads that was trained before and gives the targets."""

from collections.abc import Mapping

from torch import nn

from dino_plugin.core.distillation import Teacher
from dino_plugin.engine.training.build import build
from dino_plugin.registry import MODELS
from dino_plugin.weights.teacher import load_teacher


def build_heads(
    heads: Mapping[str, dict], backbone: nn.Module, out_dims: Mapping[str, int] | None = None, **known
) -> dict[str, nn.Module]:
    """Heads by name, with the input width of the backbone's output; constructors may take ``known`` values, too.

    Args:
        heads: Configs.
        backbone: With ``embed_dim``.
        out_dims: ``out_dim`` of some heads by name, see `output_widths`.
        **known: Values for every head.
    """
    known |= dict.fromkeys(('in_dim', 'input_dim'), backbone.embed_dim)
    of_head = {name: {'out_dim': width} for name, width in (out_dims or {}).items()}
    return {name: build(MODELS, head, **known, **of_head.get(name, {})) for name, head in heads.items()}


def with_built_teachers(losses: Mapping[str, dict], **known) -> dict[str, dict]:
    """Configs of losses, in which the frozen networks (``teacher``) are built.

    A teacher with timm's released weights brings their image normalisation along. The config of the loss wins.
    """
    return {name: _with_built_teacher(loss, known) if 'teacher' in loss else loss for name, loss in losses.items()}


def _with_built_teacher(loss: dict, known: dict) -> dict:
    config = loss['teacher']
    teacher = build(MODELS, config, **known)
    released = teacher.model.pretrained_cfg if config.get('pretrained') is True else {}
    colours = {key: [255 * value for value in released[key]] for key in ('mean', 'std') if key in released}
    return {**colours, **loss, 'teacher': teacher}


def output_widths(losses: Mapping[str, dict]) -> dict[str, int]:
    """By name of the head, the width of the teacher that a loss compares its output with.

    Raises:
        ValueError: If two losses name one head, and their teachers differ in width.
    """
    widths: dict[str, int] = {}
    for loss in losses.values():
        for head in (loss.get('class_head'), loss.get('patch_head')) if 'teacher' in loss else ():
            width = loss['teacher'].embed_dim
            if head is not None and widths.setdefault(head, width) != width:
                raise ValueError(
                    f'Two losses name the head {head!r}, and their teachers have {widths[head]} and {width} features; '
                    'give each teacher heads of its own.'
                )
    return widths


def build_frozen_teacher(
    student_heads: Mapping[str, nn.Module],
    checkpoint: str,
    heads: Mapping[str, dict],
    backbone: dict | None = None,
    num_images: int | None = None,
) -> Teacher:
    """The teacher of a training checkpoint as the frozen teacher of a student.

    Args:
        student_heads: Heads by name; where the frozen teacher has the same name, prototypes must be equally many.
        checkpoint: Checkpoint of a training of this package, with heads.
        heads: Configs of the frozen teacher's heads by name, as in its training.
        backbone: Config of its backbone; by default a `TimmBackbone` that takes its name from the checkpoint.
        num_images: Images of the frozen teacher's training, if its heads need it; by default the student's number.

    Raises:
        ValueError: If the checkpoint does not hold all of it, or student and frozen teacher differ in their prototypes.
    """
    network = build(MODELS, backbone or dict(type='dino_plugin.TimmBackbone'), checkpoint=checkpoint)
    built = build_heads(heads, network, num_images=num_images)
    for name in set(built) & set(student_heads):
        own, theirs = (getattr(head, 'prototypes', None) for head in (student_heads[name], built[name]))
        if own != theirs:
            raise ValueError(
                f'The head {name!r} has {own} prototypes in the student and {theirs} in the frozen teacher; these '
                f'numbers must be equal: write prototypes={theirs} in heads.{name}.'
            )
    load_teacher(network, built, checkpoint)
    return Teacher(network, built)
