"""The backbone in a checkpoint file: its tensors under timm's names, and which network they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dino_plugin.weights.key_names import layout_of, under
from dino_plugin.weights.key_values import to_timm
from dino_plugin.weights.published_models import published_description
from dino_plugin.weights.safe_loading import weights_file

_SHOWN_KEYS = 5
# Prefixes of a backbone's keys, in the order in which they are removed: DataParallel, torch.compile; DINO, mmpretrain
# and mmsegmentation; TimmFeatureMaps; Hugging Face.
_PREFIXES = (
    'module.',
    '_orig_mod.',
    'backbone.',
    'backbone.model.',
    'vit.',
    'dinov2.',
    'dinov2_with_registers.',
    'dinov3_vit.',
)


def backbone_state(checkpoint: Mapping[str, Any], source: str = 'teacher') -> dict[str, Tensor]:
    """The backbone's state dict under timm's names.

    Understands training checkpoints of this package, full checkpoints of the DINO, iBOT and DINOv2 code (`teacher` /
    `student`), and plain backbone files: exported ones, the authors' released ones, those of Hugging Face's `ViTModel`,
    `Dinov2Model`, `Dinov2WithRegistersModel`, `DINOv3ViTModel` and `DINOv3ConvNextModel`, of mmpretrain's
    VisionTransformer, and segmenters with `TimmFeatureMaps`. The keys tell the layout (see `layouts`). Heads are left
    out.

    Args:
        checkpoint: From `load_checkpoint`.
        source: `teacher` or `student`; a plain backbone file has only one network, which is returned for either.

    Raises:
        ValueError: If `source` is neither, no backbone is found, or tensors of one layer contradict each other; the
            message lists the first keys.
    """
    if source not in ('teacher', 'student'):
        raise ValueError(f"source must be 'teacher' or 'student', got {source!r}.")
    state = _state_dict(checkpoint)
    if any(str(key).startswith('distillation.') for key in state):
        found = under(f'distillation.{source}.backbone.model.', state)
    else:
        found = _to_timm(_plain_state(state, source))
    if not found:
        keys = list(checkpoint) if state is checkpoint else [*checkpoint, *state]
        raise ValueError(
            f'No {source} backbone found. Expected a training checkpoint of dino_plugin, a checkpoint of the original '
            f'DINO code with a {source!r} entry, or a plain file of tensors. First keys: {keys[:_SHOWN_KEYS]}.'
        )
    return found


def backbone_description(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Any] | None:
    """Which network the backbone of a checkpoint is; None if that is unknown.

    Training checkpoints say it in `meta`, exported backbones in the `.json` file beside them. Files of other programs
    are recognised by the shapes of published models; their key names tell the rule for resampling positions.

    Args:
        checkpoint: From `load_checkpoint`.
        path: Of the file.

    Returns:
        `dict(model_name=..., timm_arguments={...})`, and `position_resampling` unless it is timm's rule.

    Raises:
        ValueError: If the `.json` file is damaged.
    """
    meta = checkpoint.get('meta')
    description = _named(meta.get('backbone') if isinstance(meta, Mapping) else None)
    description = description or _card(weights_file(path).with_suffix('.json'))
    if description is not None:
        known = {'model_name': description['model_name'], 'timm_arguments': {}, 'position_resampling': 'timm'}
        description = {key: description.get(key, default) for key, default in known.items()}
    else:
        state = _state_dict(checkpoint)
        state = _plain_state(state, 'teacher') or _plain_state(state, 'student')
        renamed = _to_timm(state)
        description = published_description(renamed)
        if description is None:
            return None
        antialiased = 'pos_embed' not in renamed or 'reg_token' in renamed
        description['position_resampling'] = 'timm' if antialiased else layout_of(state).position_resampling
    if description['position_resampling'] == 'timm':
        del description['position_resampling']
    return description


def _card(path: Path) -> dict[str, Any] | None:
    """The description beside an exported backbone, or None if there is none."""
    if not path.is_file():
        return None
    try:
        return _named(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON ({error}); copy or export it again, or delete it.') from error


def _named(description: Any) -> Mapping[str, Any] | None:
    """The description, or None if it names no model."""
    return description if isinstance(description, Mapping) and 'model_name' in description else None


def _to_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    try:
        return to_timm(state)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f'The weights contradict each other ({error}): the file is damaged, or its keys are those of another '
            f'program. First keys: {list(state)[:_SHOWN_KEYS]}.'
        ) from error


def _state_dict(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    for entry in ('state_dict', 'model'):
        if isinstance(checkpoint.get(entry), Mapping):
            return checkpoint[entry]
    return checkpoint


def _plain_state(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The tensors of one network: without prefixes, and without keys that lack the prefix."""
    if isinstance(state.get(source), Mapping):
        state = state[source]
    found = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    for prefix in (f'{source}.', *_PREFIXES):
        found = under(prefix, found) or found
    return found
