"""The fast paths of a training step, each with the plain one that it replaces."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from timm.layers import Attention
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn

from benchmark.networks import WIDTHS
from benchmark.ways import Outcome, Ways
from dino_plugin.backbones.attention_choice import AttentionChoice
from dino_plugin.backbones.rotary_cache import CachedRotaryPositions
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.distillation import Network
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.views.device_colour import change_colours

PATCH, HEAD_DIM = 16, 64
DROP_RATE = 0.3


def class_token_only(options: argparse.Namespace) -> Ways:
    """The last block for the class token, where no loss reads patches, or for all tokens."""
    run = _student(options, _backbone(options))
    return _pair(
        partial(run, patches=True), partial(run, patches=False),
        'student, last block for all tokens', 'student, last block for the class token alone',
    )  # fmt: skip


def packed_views(options: argparse.Namespace) -> Ways:
    """Both sizes through the blocks at once, or one after the other."""
    packed = _backbone(options)
    apart = _backbone(options, packed, pack_views=False)
    return _pair(
        _student(options, apart), _student(options, packed), 'student, size by size', 'student, both sizes at once'
    )


def attention(dtype: torch.dtype, options: argparse.Namespace) -> Ways:
    """One layer on both sizes, by the program that is chosen for this device and precision, and by the other."""
    dim = WIDTHS[options.model]
    layer = Attention(dim, num_heads=dim // HEAD_DIM, qkv_bias=True).to(options.device)
    choice, views = AttentionChoice(layer), _views(options)
    images = [size.flatten(0, 1) for size in (views.global_views, views.local_views) if size is not None]
    tokens = [torch.randn(len(some), 1 + (some.shape[-1] // PATCH) ** 2, dim, device=some.device) for some in images]
    directions = [torch.randn_like(some) for some in tokens]

    def run(other: bool) -> Outcome:
        found = []
        with torch.autocast(options.device, dtype, enabled=dtype != torch.float32):
            for size, some in zip(images, tokens):
                choice.choose_for(size)
                layer.fused_attn ^= other
                found.append(layer(some))
        return _with_gradients(found, directions, list(layer.parameters()))

    run(False)
    other, chosen = ('written out', 'fused') if layer.fused_attn else ('fused', 'written out')
    rounding = 1e-4 if dtype == torch.float32 else 5e-2
    note = f'one layer of attention in {dtype}, '
    return _pair(partial(run, True), partial(run, False), note + other, f'{note}{chosen}, as chosen', rounding=rounding)


def subset_drop_path(options: argparse.Namespace) -> Ways:
    """Residuals of the samples that are kept, or of all, of which the same share is multiplied by zero.

    Both keep the first samples of each size while they are compared, and random ones while they are timed.
    """
    subset = _backbone(options, subset_drop_path=DROP_RATE)
    plain = _backbone(options, subset)
    for block in plain.model.blocks:
        block.drop_path1, block.drop_path2 = MultipliedDropPath(), MultipliedDropPath()
    return _pair(
        _student(options, plain), _student(options, subset),
        f'student, all residuals, some times zero, rate {DROP_RATE}', 'student, residuals of a subset only',
        same_chance=partial(patch.object, torch, 'randperm', torch.arange),
    )  # fmt: skip


class MultipliedDropPath(nn.Module):
    """Ordinary stochastic depth, of as many samples as ``SubsetDropPath`` leaves out."""

    def forward(self, residual: Tensor) -> Tensor:
        """Some samples times batch / kept, the others times zero."""
        batch = len(residual)
        kept = torch.randperm(batch, device=residual.device)[: max(1, int(batch * (1 - DROP_RATE)))]
        factors = residual.new_zeros(batch).index_fill(0, kept, batch / len(kept))
        return residual * factors.view(-1, *[1] * (residual.ndim - 1))


def remembered_positions(options: argparse.Namespace) -> Ways:
    """DINOv3's rotary positions of the grids of both sizes, known or computed anew, as before each forward pass."""
    rope = RotaryEmbeddingDinoV3(HEAD_DIM).to(options.device)
    grids = [[size // PATCH] * 2 for size in (options.global_size, options.local_size)]

    def run(positions: Callable[..., Tensor]) -> Outcome:
        return Outcome([positions(grid) for grid in grids])

    remembered = CachedRotaryPositions(rope)
    return _pair(partial(run, rope.get_embed), partial(run, remembered), 'rotary positions anew', 'remembered')


def compiled_blocks(options: argparse.Namespace) -> Ways:
    """Blocks by ``torch.compile``, or as they are."""
    eager = _backbone(options)
    compiled = _backbone(options, eager, compile_blocks=True)
    return _pair(_student(options, eager), _student(options, compiled), 'student, eager', 'student, blocks compiled')


def compiled_colours(options: argparse.Namespace) -> Ways:
    """Colours of global views on the device, blends and hue by ``torch.compile`` or as they are."""
    crop = MultiCrop(options.global_size, num_local=0, split='device')
    image = np.zeros((options.global_size, options.global_size, 3), np.uint8)  # of which only the draws are used
    samples = [crop.sample(image) for _ in range(options.batch)]
    colours = torch.cat([sample.colours for sample in samples]).to(options.device)
    size = len(colours), 3, options.global_size, options.global_size
    levels = torch.randint(256, size, device=options.device).float()

    def run(compiled: bool) -> Outcome:
        return Outcome([change_colours(levels, colours, compiled)])

    return _pair(partial(run, False), partial(run, True), 'colours, eager', 'blends and hue compiled')


FAST_PATHS: dict[str, Callable[[argparse.Namespace], Ways]] = dict(
    class_token_only=class_token_only,
    packed_views=packed_views,
    attention_fp32=partial(attention, torch.float32),
    attention_bf16=partial(attention, torch.bfloat16),
    subset_drop_path=subset_drop_path,
    remembered_positions=remembered_positions,
    compiled_blocks=compiled_blocks,
    compiled_colours=compiled_colours,
)


def _pair(plain: Callable, fast: Callable, plain_note: str, fast_note: str, **fields: Any) -> Ways:
    """Without a fast path, and as in training."""
    return Ways(dict(plain=(plain, plain_note), fast=(fast, fast_note)), **fields)


def _views(options: argparse.Namespace) -> ViewBatch:
    """Normalised ones, on the device."""
    numbers = (2, options.global_size), (options.num_local, options.local_size)
    shapes = [(views, options.batch, 3, size, size) for views, size in numbers]
    return ViewBatch(*(torch.randn(shape, device=options.device) if shape[0] else None for shape in shapes))


def _backbone(options: argparse.Namespace, twin: nn.Module | None = None, **arguments: Any) -> TimmBackbone:
    """In training; with the weights of another one, or with random ones in which each parameter matters."""
    backbone = TimmBackbone(f'vit_{options.model}_patch{PATCH}_224', **arguments).to(options.device).train()
    with torch.no_grad():
        if twin:
            backbone.load_state_dict(twin.state_dict())
        else:
            for parameter in backbone.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return backbone


def _student(options: argparse.Namespace, backbone: TimmBackbone) -> Callable[..., Outcome]:
    """Forward and backward from class tokens; both sides of a switch have the same views and directions."""
    torch.manual_seed(0)
    views, network = _views(options), Network(backbone, {})
    sizes = [(len(some), options.batch) for some in (views.global_views, views.local_views) if some is not None]
    directions = [torch.randn(*size, backbone.embed_dim, device=options.device) for size in sizes]
    parameters = list(backbone.parameters())

    def run(patches: bool = False) -> Outcome:
        found = [tokens.class_token for tokens in network(views, patches, patches) if tokens is not None]
        return _with_gradients(found, directions, parameters)

    return run


def _with_gradients(found: list[Tensor], directions: list[Tensor], parameters: list[Tensor]) -> Outcome:
    """Of what flows from random directions of the values into the parameters."""
    product = sum((values * direction).sum() for values, direction in zip(found, directions))
    return Outcome([values.detach() for values in found], torch.autograd.grad(product, parameters))
