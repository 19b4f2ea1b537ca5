"""A frozen teacher: a network with heads that was trained before and gives the targets."""

from collections.abc import Mapping

from torch import nn

from dino_plugin.core.distillation import Teacher
from dino_plugin.engine.training.build import build
from dino_plugin.registry import MODELS
from dino_plugin.weights.teacher import load_teacher


def build_heads(heads: Mapping[str, dict], backbone: nn.Module, **known) -> dict[str, nn.Module]:
    """Heads by name, with the input width of the backbone's output; constructors may take ``known`` values, too."""
    known |= dict.fromkeys(('in_dim', 'input_dim'), backbone.embed_dim)
    return {name: build(MODELS, head, **known) for name, head in heads.items()}


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
