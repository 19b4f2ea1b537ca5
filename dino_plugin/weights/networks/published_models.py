"""Which timm model a file of weights holds, recognised by the shapes."""

import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dino_plugin.weights.strict_loading import has_no_effect

# (width, depth) of the transformers published for DINO, iBOT, DINOv2 and DINOv3. Shapes do not tell the number of
# heads, but all four use the same number for each size.
_SIZES = {
    (192, 12): 'tiny',
    (384, 12): 'small',
    (768, 12): 'base',
    (1024, 24): 'large',
    (1280, 32): 'huge',
    (1536, 40): 'giant',
    (4096, 40): '7b',
}
# Names of DINOv3's sizes with SwiGLU; 7b has SwiGLU only.
_PLUS = {'small': 'small_plus', 'huge': 'huge_plus', '7b': '7b'}
# DINO's and DINOv3's convolutional networks: one tensor of each, with its shape.
_CONVOLUTIONAL = {
    'resnet50': ('layer3.5.conv3.weight', (1024, 256, 1, 1)),
    'convnext_tiny': ('stages.2.blocks.8.gamma', (384,)),
    'convnext_small': ('stages.2.blocks.26.gamma', (384,)),
    'convnext_base': ('stages.2.blocks.26.gamma', (512,)),
    'convnext_large': ('stages.2.blocks.26.gamma', (768,)),
}


def published_description(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """`dict(model_name=..., timm_arguments={...})` of a published architecture; None for any other.

    All keys and shapes must equal those of timm's model. The number of attention heads is assumed: no file of weights
    holds it.

    Args:
        state: Under timm's names.
    """
    if 'patch_embed.proj.weight' in state:
        name, arguments = _transformer(state)
        candidates = (name,) if name and timm.is_model(name) else ()
    else:
        arguments = {}
        candidates = [
            name for name, (key, shape) in _CONVOLUTIONAL.items() if key in state and state[key].shape == shape
        ]
    for name in candidates:
        with torch.device('meta'):
            model = timm.create_model(name, num_classes=0, **arguments)
        if _has_shapes(model, state):
            return {'model_name': name, 'timm_arguments': arguments}
    return None


def _transformer(state: Mapping[str, Tensor]) -> tuple[str | None, dict[str, Any]]:
    """The name that fits width, depth, patch size, registers, LayerScale, SwiGLU and biases, and its arguments."""
    weight = state['patch_embed.proj.weight']
    tokens = [state[key].ndim for key in ('pos_embed', 'reg_token') if key in state]
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or tokens.count(3) != len(tokens):
        return None, {}
    patch = weight.shape[2]
    depth = sum(key.startswith('blocks.') and key.endswith('.norm1.weight') for key in state)
    size = _SIZES.get((weight.shape[0], depth))
    num_registers = state['reg_token'].shape[1] if 'reg_token' in state else 0
    if 'pos_embed' not in state:
        size = _PLUS.get(size) if 'blocks.0.mlp.fc1_g.weight' in state else size
        # Most of DINOv3's files have biases of zeros; timm's plain names stand for models without biases.
        biased = any(key.endswith(('.attn.q_bias', '.attn.v_bias')) and value.any() for key, value in state.items())
        return f'vit_{size}_patch{patch}_dinov3' + ('_qkvb' if biased else ''), {}
    num_patches = state['pos_embed'].shape[1] - (0 if num_registers else 1)
    arguments = {'img_size': math.isqrt(max(num_patches, 0)) * patch}
    if 'blocks.0.ls1.gamma' in state:
        return f'vit_{size}_patch{patch}{f"_reg{num_registers}" if num_registers else ""}_dinov2', arguments
    return f'vit_{size}_patch{patch}_224', arguments


def _has_shapes(model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    own = {key: value.shape for key, value in model.state_dict().items()}
    given = {key: value.shape for key, value in state.items() if key in own or not has_no_effect(key, value)}
    return own == given
