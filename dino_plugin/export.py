"""Backbone of a checkpoint -> a file for another program."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor, nn

from dino_plugin.backbones.creation import pixels_of_a_token
from dino_plugin.checkpoint import backbone_description, backbone_state, load_backbone, load_checkpoint
from dino_plugin.data.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.weights.export_formats import Exported, in_format

# Settings of training: the exported network is for use.
_TRAINING_ARGUMENTS = (
    'drop_path_rate',
    'drop_rate',
    'proj_drop_rate',
    'attn_drop_rate',
    'rope_shift_coords',
    'rope_jitter_coords',
    'rope_rescale_coords',
)


def export_backbone(
    checkpoint: str | Path,
    out: str | Path,
    source: str = 'teacher',
    mean: Sequence[float] = IMAGENET_MEAN_LEVELS,
    std: Sequence[float] = IMAGENET_STD_LEVELS,
    format: str = 'timm',
) -> Path:
    """Writes the backbone of a checkpoint as tensors for another program, and a description beside it.

    - `timm`: `timm.create_model(model_name, **timm_arguments, checkpoint_path=FILE)` with the values of the `.json`
      gives the network.
    - `huggingface`: a folder for `from_pretrained(FOLDER)` of the class that `config.json` names. (`ViTModel` has a
      pooler that DINO does not train: `add_pooling_layer=False`.)
    - `mmpretrain`, `original`: the names of mmpretrain's VisionTransformer, and of the authors' repositories. Both
      read `.pth`.

    `TimmBackbone(model_name, checkpoint=FILE)` takes any of them.

    Args:
        checkpoint: Of a training with `EMATeacherHook`, which leaves the backbone's description in it; or any other
            that `backbone_description` recognises.
        out: Path without a hash: `work_dirs/a/vit-small.safetensors` (or `.../vit-small`) becomes
            `work_dirs/a/vit-small-1a2b3c4d.safetensors`, with the first eight digits of its SHA-256. The suffix `.pth`
            makes it a PyTorch file. For `huggingface` it is the folder, `work_dirs/a/vit-small-1a2b3c4d/`.
        source: `teacher` or `student`.
        mean: That images were normalised with, per channel, in grey levels of [0, 255]; goes into the description.
        std: Likewise.
        format: One of `FORMATS`.

    Returns:
        The path of the file with the weights; the description is beside it, with the suffix `.json`.

    Raises:
        ValueError: If the checkpoint has no description of its backbone, its weights do not fit that description, the
            format has no counterpart for the network, or Hugging Face's is asked as `.pth`.
    """
    model, card = _network_of(checkpoint, source)
    path = _write(in_format(model, format), Path(out))
    card |= dict(
        mean=[round(level / 255, 6) for level in mean],  # of pixels in [0, 1], as timm has it
        std=[round(level / 255, 6) for level in std],
        network=source,
        format=format,
    )
    path.with_suffix('.json').write_text(json.dumps(card, indent=2) + '\n')
    return path


def _network_of(checkpoint: str | Path, source: str) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model with the weights, and what is to be said of it."""
    description = backbone_description(checkpoint)
    if description is None:
        raise ValueError(
            f'{checkpoint} does not say what backbone it holds (meta.backbone), and is of no published architecture. '
            "Checkpoints say that if they were trained with custom_hooks=[dict(type='dino_plugin.EMATeacherHook')]."
        )
    name, arguments = description['model_name'], description['timm_arguments']
    arguments = {key: value for key, value in arguments.items() if key not in _TRAINING_ARGUMENTS} | {'num_classes': 0}
    model = timm.create_model(name, **arguments)
    content = load_checkpoint(checkpoint)
    load_backbone(model, backbone_state(content, source), name=str(checkpoint))
    patches = getattr(model, 'patch_embed', None)
    card = dict(
        model_name=name,
        timm_arguments=arguments,
        image_size=getattr(patches, 'img_size', None),
        patch_size=pixels_of_a_token(model),
        feature_dim=model.num_features,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    meta = content.get('meta')
    if isinstance(meta, Mapping) and 'losses' in meta:
        card['method'] = [str(loss) for loss in meta['losses']]
    return model, card


def _write(exported: Exported, out: Path) -> Path:
    """Writes weights (and Hugging Face's config); returns the path of the weights, which has their hash."""
    suffix = out.suffix if out.suffix in ('.safetensors', '.pth') else ''
    name = out.name.removesuffix(suffix)
    if exported.config is not None and suffix == '.pth':
        raise ValueError(f'A Hugging Face folder holds safetensors; give the folder without .pth, got {out}.')
    content = _pth(exported.state) if suffix == '.pth' else save(exported.state, metadata={'format': 'pt'})
    name = f'{name}-{hashlib.sha256(content).hexdigest()[:8]}'
    path = out.with_name(f'{name}{suffix or ".safetensors"}')
    if exported.config is not None:
        path = out.with_name(name) / 'model.safetensors'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if exported.config is not None:
        (path.parent / 'config.json').write_text(json.dumps(exported.config, indent=2) + '\n')
    return path


def _pth(state: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
