"""A timm model's tensors for another program, complete for that program's strict loading."""

from typing import Any, NamedTuple

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from dino_plugin.export.architecture import Architecture, architecture_of
from dino_plugin.export.formats import FORMATS
from dino_plugin.export.huggingface import huggingface_config
from dino_plugin.weights.key_tables import layouts
from dino_plugin.weights.key_tables.key_values import from_timm


class Exported(NamedTuple):
    """Tensors, and the content of `config.json` for Hugging Face."""

    state: dict[str, Tensor]
    config: dict[str, Any] | None = None


def in_format(model: nn.Module, format: str) -> Exported:
    """The weights of a timm model under the names of another program.

    Args:
        model: A timm model without classifier.
        format: `timm`; `huggingface`: `ViTModel`, `Dinov2Model`, `Dinov2WithRegistersModel` or `DINOv3ViTModel`;
            `mmpretrain`: its VisionTransformer; `original`: facebookresearch/dino, dinov2 or dinov3.

    Raises:
        ValueError: If the format is unknown, or the program has no such network.
    """
    if format not in FORMATS:
        raise ValueError(f'format must be one of {list(FORMATS)}, got {format!r}.')
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    # DINO's ResNet-50 is torchvision's; timm uses the same names.
    if format == 'timm' or (format == 'original' and type(model) is ResNet and 'conv1.weight' in state):
        return Exported(state)
    try:
        return _CONVERTERS[format](model, state, architecture_of(model))
    except ValueError as error:
        raise ValueError(
            f'The format {format!r} has no such network: {error}. Expected a plain vision transformer, with '
            'LayerScale, registers or SwiGLU as in DINOv2 (mmpretrain: LayerScale only), or DINOv3 (not mmpretrain). '
            "Export it with format='timm'."
        ) from error


def _huggingface(model: nn.Module, state: dict[str, Tensor], architecture: Architecture) -> Exported:
    config = huggingface_config(model, architecture)
    if config['model_type'] == 'vit':
        # Without these weights ViTModel's pooler is random. The identity, without activation, gives the class token.
        pooler = {'pooler.dense.weight': torch.eye(model.embed_dim), 'pooler.dense.bias': torch.zeros(model.embed_dim)}
        return Exported(_named(model, state, layouts.HUGGING_FACE_VIT, False) | pooler, config)
    layout = layouts.HUGGING_FACE_DINOV3 if architecture.rotary else layouts.HUGGING_FACE_DINOV2
    if not architecture.layer_scale:  # these classes always have LayerScale
        names = [f'blocks.{block}.ls{part}.gamma' for block in range(len(model.blocks)) for part in (1, 2)]
        state = state | {name: torch.ones(model.embed_dim) for name in names}
    mask = torch.zeros(1, 1, model.embed_dim) if architecture.rotary else torch.zeros(1, model.embed_dim)
    named = _named(model, state, layout, architecture.swiglu)
    return Exported(named | {'embeddings.mask_token': mask}, config)


def _mmpretrain(model: nn.Module, state: dict[str, Tensor], architecture: Architecture) -> Exported:
    if architecture.registers or architecture.swiglu or architecture.rotary:
        raise ValueError(f'{architecture} is not among its VisionTransformers')
    return Exported(_named(model, state, layouts.MMPRETRAIN, False))


def _original(model: nn.Module, state: dict[str, Tensor], architecture: Architecture) -> Exported:
    layout = layouts.ORIGINAL_ROTARY if architecture.rotary else layouts.ORIGINAL
    named = _named(model, state, layout, architecture.swiglu)
    if any(architecture):  # DINO's own network has no mask token
        named['mask_token'] = torch.zeros(1, model.embed_dim)
    if architecture.rotary:
        named['rope_embed.periods'] = model.rope.periods.clone()
    return Exported(named)


_CONVERTERS = {'huggingface': _huggingface, 'mmpretrain': _mmpretrain, 'original': _original}


def _named(model: nn.Module, state: dict[str, Tensor], layout: layouts.Layout, gated: bool) -> dict[str, Tensor]:
    return from_timm(state, layout, gated, model.patch_embed.num_patches)
