"""Loading the teacher of an earlier training: its backbone and its heads."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dino_plugin.weights.adapters import beside_adapters, merged
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.key_tables.key_names import under
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone


def load_teacher(backbone: nn.Module, heads: Mapping[str, nn.Module], path: str | Path) -> None:
    """Loads backbone and heads of the teacher of a training checkpoint, strictly.

    The file must hold all tensors of `backbone` and `heads` in the same shapes. Only position embeddings are resampled,
    as in `load_backbone`. Other heads of the file are left out, as are a mask token and a normalisation of local views
    if the backbone has none.

    Args:
        backbone: A `TimmBackbone`; changed in place, like the heads.
        heads: Under the names that they had in training.
        path: Of the checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a training checkpoint, lacks a head, or does not fit.
    """
    content = load_checkpoint(path)
    teacher = under('distillation.teacher.', content.get('state_dict', content))
    trained = sorted({key.split('.')[1] for key in teacher if key.startswith('heads.')})
    if missing := sorted(set(heads) - set(trained)):
        raise ValueError(
            f'{path} has no teacher with the heads {missing}; its heads: {", ".join(trained) or "none"}. Training '
            'checkpoints of dino_plugin hold the heads they were trained with. A released backbone has none: train '
            'heads for it first, with backbone=dict(checkpoint=...) and freeze_backbone in optim_wrapper.'
        )
    load_backbone(
        backbone.model,
        beside_adapters(merged(under('backbone.model.', teacher)), backbone.model.state_dict()),
        name=str(path),
        description=backbone_description(content, path),
        position_resampling=backbone.position_resampling,
    )
    own = backbone.state_dict()
    others = {key: value for key, value in under('backbone.', teacher).items() if key in own}
    _load(backbone, others | {key: own[key] for key in own if key.startswith('model.')}, f'The backbone in {path}')
    for name, head in heads.items():
        _load(head, under(f'heads.{name}.', teacher), f'The head {name!r} in {path}')


def _load(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f'{name} does not fit the model. Build it with the arguments that it was trained with.\n{error}'
        ) from error
