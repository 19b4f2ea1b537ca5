"""Tiny networks of every architecture that is read or written under other names, with weights that all matter."""

import cv2
import timm
import torch
from bundled import CIFAR
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, layer_norm, linear

_TINY = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
_WIDE = dict(_TINY, embed_dim=48)

NETWORKS = {
    'plain': ('vit_tiny_patch16_224', _TINY),
    'plain, position of patches only': ('vit_tiny_patch16_224', dict(_TINY, no_embed_class=True)),
    'plain, not square': ('vit_tiny_patch16_224', dict(_TINY, img_size=(32, 16))),
    'plain, no bias': ('vit_tiny_patch16_224', dict(_TINY, qkv_bias=False)),
    'layer scale': ('vit_small_patch14_dinov2', _TINY),
    'registers': ('vit_small_patch14_reg4_dinov2', _TINY),
    'registers with positions, no layer scale': ('vit_tiny_patch16_224', dict(_TINY, reg_tokens=3)),
    'swiglu': ('vit_giant_patch14_dinov2', _WIDE),
    'swiglu, registers': ('vit_giant_patch14_reg4_dinov2', _WIDE),
    'rotary': ('vit_small_patch16_dinov3', _TINY),
    'rotary, biased': ('vit_small_patch16_dinov3_qkvb', _TINY),
    'rotary, swiglu, biased': ('vit_small_plus_patch16_dinov3_qkvb', _TINY),
}


def random_network(kind: str, seed: int = 0) -> nn.Module:
    """A network of `NETWORKS`, in which each tensor is random: LayerScale is not nearly 0, no bias is 0."""
    name, arguments = NETWORKS[kind]
    return randomised(timm.create_model(name, num_classes=0, **arguments), seed)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode; weights, biases, tokens and scales all differ and all matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + (parameter.ndim == 1) * 0.5)
    return model.eval()


def photographs(rows: int = 32, columns: int = 32) -> Tensor:
    """Ten of the bundled photographs."""
    folder = CIFAR
    paths = sorted(folder.rglob('*.jpg'))[::100]
    pixels = [torch.from_numpy(cv2.imread(str(path))[:rows, :columns, ::-1].copy()) for path in paths]
    return torch.stack(pixels).movedim(-1, 1).float() / 255 - 0.5


def slow_mmpretrain(state: dict[str, Tensor], images: Tensor, num_heads: int) -> Tensor:
    """mmpretrain's VisionTransformer, written from its key names."""

    def normed(x, name):
        return layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def projected(x, name):
        return linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    weight = state['patch_embed.projection.weight']
    patches = conv2d(images, weight, state['patch_embed.projection.bias'], stride=weight.shape[-2:])
    x = torch.cat([state['cls_token'].expand(len(images), -1, -1), patches.flatten(2).mT], dim=1) + state['pos_embed']
    for i in range(len({key.split('.')[1] for key in state if key.startswith('layers.')})):
        qkv = projected(normed(x, f'layers.{i}.ln1'), f'layers.{i}.attn.qkv').unflatten(-1, (3, num_heads, -1))
        query, keys, values = qkv.permute(2, 0, 3, 1, 4)
        weights = (query @ keys.mT / query.shape[-1] ** 0.5).softmax(-1)
        update = projected((weights @ values).transpose(1, 2).flatten(2), f'layers.{i}.attn.proj')
        x = x + update * state.get(f'layers.{i}.attn.gamma1.weight', 1)
        update = projected(normed(x, f'layers.{i}.ln2'), f'layers.{i}.ffn.layers.0.0')
        update = projected(gelu(update), f'layers.{i}.ffn.layers.1')
        x = x + update * state.get(f'layers.{i}.ffn.gamma2.weight', 1)
    return normed(x, 'ln1')
