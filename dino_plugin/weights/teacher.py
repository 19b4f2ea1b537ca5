"""Going on from another training: its teacher, backbone and heads together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dino_plugin.weights.checkpoint import description_in
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone


def load_teacher(backbone: nn.Module, heads: Mapping[str, nn.Module], path: str | Path) -> None:
    """Loads backbone and heads of the teacher of a training checkpoint, strictly.

    All that `backbone` and `heads` have must be in the file and of the same shape, but for a position embedding, which
    is resampled as in `load_backbone`. Heads of the file that are not asked for are left out, and so is a mask token or
    a normalisation of local views that the backbone does without.

    Args:
        backbone: A `TimmBackbone`; changed in place, like the heads.
        heads: By the names that they had in training.
        path: Of the checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no training checkpoint, lacks a head, or anything in it does not fit.
    """
    content = load_checkpoint(path)
    teacher = _under('distillation.teacher.', content.get('state_dict', content))
    trained = sorted({key.split('.')[1] for key in teacher if key.startswith('heads.')})
    if missing := sorted(set(heads) - set(trained)):
        raise ValueError(
            f'{path} has no teacher with the heads {missing}; its heads: {", ".join(trained) or "none"}. Training '
            'checkpoints of dino_plugin have the heads they were trained with. A released backbone comes without: '
            'train heads for it first, with backbone=dict(checkpoint=...) and freeze_backbone in optim_wrapper.'
        )
    load_backbone(
        backbone.model,
        _under('backbone.model.', teacher),
        name=str(path),
        description=description_in(content, path),
        position_resampling=backbone.position_resampling,
    )
    own = backbone.state_dict()
    others = {key: value for key, value in _under('backbone.', teacher).items() if key in own}
    _load(backbone, others | {key: own[key] for key in own if key.startswith('model.')}, f'The backbone in {path}')
    for name, head in heads.items():
        _load(head, _under(f'heads.{name}.', teacher), f'The head {name!r} in {path}')


def _load(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f'{name} does not fit the model. Build it with the arguments that it was trained with.\n{error}'
        ) from error


def _under(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose names begin with ``prefix``, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
