"""What backbone a checkpoint file holds: its tensors under timm's names, and the network they belong to.

Reading a file is in `safe_loading`, loading into a network in `strict_loading`, a whole teacher with its heads in
`teacher`; all are to be had from here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dino_plugin.weights.key_names import layout_of
from dino_plugin.weights.key_values import to_timm
from dino_plugin.weights.published_models import published_description
from dino_plugin.weights.safe_loading import load_checkpoint, use_safe_loading, weights_file
from dino_plugin.weights.strict_loading import LoadReport, load_backbone

__all__ = [
    'LoadReport',
    'backbone_description',
    'backbone_state',
    'description_in',
    'load_backbone',
    'load_checkpoint',
    'use_safe_loading',
]

_SHOWN_KEYS = 5
_OURS = 'distillation.'
# What wrappers and heads put before a backbone's names, from the outside in: DataParallel, torch.compile; DINO,
# mmpretrain and mmsegmentation; TimmFeatureMaps; Hugging Face.
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
    """The backbone's tensors under timm's names.

    Understands training checkpoints of this package, full checkpoints of the DINO, iBOT and DINOv2 code (`teacher` /
    `student`), and plain backbone files: exported ones, the authors' released ones, those of Hugging Face's `ViTModel`,
    `Dinov2Model`, `Dinov2WithRegistersModel`, `DINOv3ViTModel` and `DINOv3ConvNextModel`, of mmpretrain's
    VisionTransformer, and segmenters with `TimmFeatureMaps`. The layout is recognised by the keys (see `layouts`).
    Heads are left out.

    Args:
        checkpoint: From `load_checkpoint`.
        source: `teacher` or `student`; a plain backbone file has only one network, which is returned for either.

    Raises:
        ValueError: If `source` is neither, no backbone is found, or tensors of one layer contradict each other; the
            message lists the first keys.
    """
    if source not in ('teacher', 'student'):
        raise ValueError(f"source must be 'teacher' or 'student', got {source!r}.")
    state = _weights(checkpoint)
    if _is_ours(state):
        prefix = f'{_OURS}{source}.backbone.model.'
        found = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    else:
        found = _renamed(_plain_state(state, source))
    if not found:
        keys = list(checkpoint) if state is checkpoint else [*checkpoint, *state]
        raise ValueError(
            f'No {source} backbone found. Expected a training checkpoint of dino_plugin, a checkpoint of the original '
            f'DINO code with a {source!r} entry, or a plain file of tensors. First keys: {keys[:_SHOWN_KEYS]}.'
        )
    return found


def backbone_description(path: str | Path) -> dict[str, Any] | None:
    """What network the backbone in a file is, or None if the file does not tell.

    A training checkpoint has it in `meta`, an exported backbone in the `.json` beside it; files that other programs
    wrote are recognised by the shapes of published models, and by their names whose rule for positions they follow.

    Returns:
        `dict(model_name=..., timm_arguments={...})`, and `position_resampling` where it is not timm's.

    Raises:
        ValueError: If the file cannot be read, or the `.json` beside it is damaged.
    """
    return description_in(load_checkpoint(path), path)


def description_in(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Any] | None:
    """`backbone_description` of a file that was read already."""
    meta = checkpoint.get('meta')
    description = _named(meta.get('backbone') if isinstance(meta, Mapping) else None)
    description = description or _card(weights_file(path).with_suffix('.json'))
    if description is not None:
        known = {'model_name': description['model_name'], 'timm_arguments': {}, 'position_resampling': 'timm'}
        description = {key: description.get(key, default) for key, default in known.items()}
    else:
        state = _weights(checkpoint)
        state = _plain_state(state, 'teacher') or _plain_state(state, 'student')
        renamed = _renamed(state)
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
        raise ValueError(f'{path} is no JSON ({error}); copy or export it again, or delete it.') from error


def _named(description: Any) -> Mapping[str, Any] | None:
    """A description, or None if it names no model."""
    return description if isinstance(description, Mapping) and 'model_name' in description else None


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    try:
        return to_timm(state)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f'The weights contradict each other ({error}): the file is damaged, or of another program than its names '
            f'say. First keys: {list(state)[:_SHOWN_KEYS]}.'
        ) from error


def _weights(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    for entry in ('state_dict', 'model'):
        if isinstance(checkpoint.get(entry), Mapping):
            return checkpoint[entry]
    return checkpoint


def _is_ours(state: Mapping[str, Any]) -> bool:
    return any(str(key).startswith(_OURS) for key in state)


def _plain_state(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The tensors of one network, without prefixes and what is outside them."""
    if isinstance(state.get(source), Mapping):
        state = state[source]
    found = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    for prefix in (f'{source}.', *_PREFIXES):
        found = _without_prefix(found, prefix)
    return found


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, without it; all entries when none is under it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)} or state
