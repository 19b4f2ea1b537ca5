"""Training checkpoint -> backbone file for other programs."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import timm
from safetensors.torch import save
from torch import nn

from dino_plugin.checkpoint import backbone_description, backbone_state, load_backbone, load_checkpoint
from dino_plugin.data.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS

# Settings of training: the exported network is for use.
_TRAINING_ARGUMENTS = ('drop_path_rate', 'drop_rate', 'proj_drop_rate', 'attn_drop_rate')


def export_backbone(
    checkpoint: str | Path,
    out: str | Path,
    source: str = 'teacher',
    mean: Sequence[float] = IMAGENET_MEAN_LEVELS,
    std: Sequence[float] = IMAGENET_STD_LEVELS,
) -> Path:
    """Writes the backbone of a training checkpoint under timm's names, and what is needed to build it beside it.

    `timm.create_model(model_name, **timm_arguments, checkpoint_path=FILE)` with the values of the `.json` gives the
    network; `TimmBackbone(model_name, checkpoint=FILE)` takes the file too.

    Args:
        checkpoint: Of a training with `EMATeacherHook`, which leaves the backbone's description in it.
        out: Path without a hash: `work_dirs/a/vit-small.safetensors` (or `.../vit-small`) becomes
            `work_dirs/a/vit-small-1a2b3c4d.safetensors`, with the first eight digits of its SHA-256.
        source: `teacher` or `student`.
        mean: That images were normalised with, per channel, in grey levels of [0, 255]; goes into the description.
        std: Likewise.

    Returns:
        The path of the `.safetensors` file; the description is beside it, with the suffix `.json`.

    Raises:
        ValueError: If the checkpoint has no description of its backbone, or its weights do not fit that description.
    """
    description = backbone_description(checkpoint)
    if description is None:
        raise ValueError(
            f'{checkpoint} does not say what backbone it holds (meta.backbone). Checkpoints have that if they were '
            "trained with custom_hooks=[dict(type='dino_plugin.EMATeacherHook')]."
        )
    name, arguments = description['model_name'], description['timm_arguments']
    arguments = {key: value for key, value in arguments.items() if key not in _TRAINING_ARGUMENTS} | {'num_classes': 0}
    model = timm.create_model(name, **arguments)
    load_backbone(model, backbone_state(load_checkpoint(checkpoint), source), name=str(checkpoint))
    path = _write_timm(model, Path(out))
    patches = getattr(model, 'patch_embed', None)
    card = dict(
        model_name=name,
        timm_arguments=arguments,
        image_size=getattr(patches, 'img_size', None),
        patch_size=getattr(patches, 'patch_size', None),
        feature_dim=model.num_features,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        mean=[round(level / 255, 6) for level in mean],  # of pixels in [0, 1], as timm has it
        std=[round(level / 255, 6) for level in std],
        network=source,
    )
    path.with_suffix('.json').write_text(json.dumps(card, indent=2) + '\n')
    return path


def _write_timm(model: nn.Module, out: Path) -> Path:
    """timm's names, safetensors; returns the path, which has the hash of the content."""
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    content = save(state, metadata={'format': 'pt'})
    digits = hashlib.sha256(content).hexdigest()[:8]
    path = out.with_name(f'{out.name.removesuffix(".safetensors")}-{digits}.safetensors')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
