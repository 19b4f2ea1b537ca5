"""The backbone in a checkpoint file: its tensors under timm's names, and which network they belong to."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dino_plugin.weights.key_tables.key_names import layout_of
from dino_plugin.weights.key_tables.key_values import to_timm
from dino_plugin.weights.networks.descriptions import checked_description, read_card
from dino_plugin.weights.networks.published_models import published_description
from dino_plugin.weights.networks.subtrees import Network, chosen, how_to_choose, networks
from dino_plugin.weights.reading.sources import local_file

_SHOWN_KEYS = 5


def backbone_state(checkpoint: Mapping[str, Any], source: str = 'teacher') -> dict[str, Tensor]:
    """The backbone's state dict under timm's names.

    Understands training checkpoints of this package, of the authors' code, of Lightly, solo-learn, mmpretrain, MoCo and
    others with several networks (see `subtrees`), and plain backbone files: exported ones, the authors' released ones,
    those of Hugging Face's `ViTModel`, `Dinov2Model`, `Dinov2WithRegistersModel`, `DINOv3ViTModel` and
    `DINOv3ConvNextModel`, of mmpretrain's VisionTransformer, and segmenters with `TimmFeatureMaps`. The keys tell the
    layout (see `layouts`). Heads are left out.

    Args:
        checkpoint: From `load_checkpoint`.
        source: `teacher`, `student`, or the name of a network: its path in the file or a part of it, such as
            `encoder_k`. A plain file has only one network, which is both teacher and student.

    Raises:
        ValueError: If no such backbone is found, the names do not tell which of several networks is meant, or tensors
            of one layer contradict each other; the message lists the networks or the first keys.
    """
    from mmengine.logging import print_log

    found = networks(checkpoint)
    network = chosen(found, source)
    if network is None:
        raise ValueError(_not_found(checkpoint, found, source))
    if len(found) > 1:
        others = ', '.join(str(other) for other in found if other is not network)
        print_log(f'The {source!r} of the checkpoint is {network}. It also holds: {others}.', logger='current')
    return _to_timm(network.tensors)


def backbone_description(
    checkpoint: Mapping[str, Any], path: str | Path, source: str | None = None
) -> dict[str, Any] | None:
    """Which network the backbone of a checkpoint is; None if that is unknown.

    Training checkpoints say it in `meta`, exported backbones in the `.json` file beside them. Files of other programs
    are recognised by the shapes of published models; their key names tell the rule for resampling positions.

    Args:
        checkpoint: From `load_checkpoint`.
        path: Of the file.
        source: Which network of a file that does not say it, as in `backbone_state`. None: all, if they are alike.

    Returns:
        `dict(model_name=..., timm_arguments={...})`, and `position_resampling` unless it is timm's rule.

    Raises:
        ValueError: If the `.json` file is damaged, or the description more than a description of a network, see
            `checked_description`, or as `backbone_state`.
    """
    meta = checkpoint.get('meta')
    description = _named(meta.get('backbone') if isinstance(meta, Mapping) else None)
    description = description or read_card(local_file(path))
    if description is not None:
        description = checked_description(description, checkpoint, path)
    else:
        description = _recognised(checkpoint, source)
        if description is None:
            return None
    if description['position_resampling'] == 'timm':
        del description['position_resampling']
    return description


def own_tensors(
    checkpoint: Mapping[str, Any], source: str = 'teacher', names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """The tensors of a network under the names that its author gave them; no layout is recognised or changed.

    Args:
        checkpoint: From `load_checkpoint`.
        source: As in `backbone_state`.
        names: Those of the network; a file, or its `state_dict`, that has them all is the network's own.

    Raises:
        ValueError: If no such network is found, or as `backbone_state`.
    """
    for content in (checkpoint, checkpoint.get('state_dict')):
        if names and isinstance(content, Mapping) and all(name in content for name in names):
            return {name: content[name] for name in names}
    found = networks(checkpoint)
    network = chosen(found, source)
    if network is None:
        raise ValueError(_not_found(checkpoint, found, source))
    return dict(network.tensors)


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


def _not_found(checkpoint: Mapping[str, Any], found: list[Network], source: str) -> str:
    if found:
        return f'No {source} backbone found. {how_to_choose(found)}'
    keys = [*checkpoint]
    for value in checkpoint.values():
        keys += [*value] if isinstance(value, Mapping) else []
    return (
        f'No {source} backbone found. Expected a training checkpoint of dino_plugin or of another program, or a plain '
        f'file of tensors. First keys: {keys[:_SHOWN_KEYS]}.'
    )


def _recognised(checkpoint: Mapping[str, Any], source: str | None) -> dict[str, Any] | None:
    """The description by shapes of the chosen network, or, without a source, of all if it is the same."""
    found = networks(checkpoint)
    if any(f'.{network.path}'.endswith('.distillation.teacher.backbone.model') for network in found):
        return None  # ours, without its description; it has any rule for positions
    if source is None:
        asked = [network for network in found if network.role != 'other'] or found
    else:
        asked = [network for network in [chosen(found, source)] if network is not None]
    descriptions = []
    for state in (network.tensors for network in asked):
        renamed = _to_timm(state)
        description = published_description(renamed)
        if description is not None:
            antialiased = 'pos_embed' not in renamed or 'reg_token' in renamed
            description['position_resampling'] = 'timm' if antialiased else layout_of(state).position_resampling
        descriptions.append(description)
    same = bool(descriptions) and all(description == descriptions[0] for description in descriptions)
    return descriptions[0] if same else None
