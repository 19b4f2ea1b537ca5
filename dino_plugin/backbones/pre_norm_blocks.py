"""timm's pre-norm blocks with less work for the same result.

If no loss reads the patches, the last block computes the class token only. And layers that treat each token separately
(normalisations, linear layers, MLP) take packed tokens of several image sizes together.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import (
    Attention,
    AttentionRope,
    DropPath,
    GluMlp,
    LayerNorm,
    LayerScale,
    Mlp,
    RmsNorm,
    SwiGLU,
)
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear

from dino_plugin.backbones.attention_steps import attend, project, qkv_bias, split_heads
from dino_plugin.backbones.packed_depth import Depth, Shapes, draw_depth
from dino_plugin.backbones.recomputation import runner_of_blocks
from dino_plugin.backbones.stochastic_depth import SubsetDropPath

_NORMS = (nn.Identity, nn.LayerNorm, LayerNorm, RmsNorm)
_ATTENTIONS = (Attention, EvaAttention, AttentionRope)
_PARTS_OF_A_BLOCK = (*_NORMS, *_ATTENTIONS, LayerScale, DropPath, SubsetDropPath, Mlp, GluMlp, SwiGLU)
_PARTS_OF_ATTENTION = (*_NORMS, nn.Linear, nn.Dropout)


def has_plain_blocks(model: nn.Module) -> bool:
    """Whether this file computes the same as the network: all parts must have the exact classes that it knows."""
    if type(model) not in (VisionTransformer, Eva) or model.cls_token is None or getattr(model, 'rope_mixed', False):
        return False
    return all(
        type(block) in (Block, EvaBlock)
        and all(type(part) in _PARTS_OF_A_BLOCK for part in block.children())
        and all(type(part) in _PARTS_OF_ATTENTION for part in block.attn.children())
        and block.attn.qkv is not None
        and getattr(block.attn, 'gate', None) is None
        for block in model.blocks
    )


def embedded(model: nn.Module, images: Tensor) -> tuple[Float[Tensor, 'batch tokens dim'], Tensor | None]:
    """The input of the first block, and the rotary positions of the patches or None.

    It runs timm's own forward pass without blocks and last normalisation, on a model that :func:`has_plain_blocks`.
    """
    entrance, blocks, norm = _Entrance(), model.blocks, model.norm
    model.blocks, model.norm = nn.Sequential(entrance), nn.Identity()
    try:
        return model.forward_features(images), entrance.rotary
    finally:
        model.blocks, model.norm = blocks, norm


def through_blocks(
    model: nn.Module,
    views: Sequence[tuple[Float[Tensor, '_ _ dim'], Tensor | None]],
    patches: Sequence[bool],
    compile_mode: str | bool = False,
) -> list[Float[Tensor, '_ _ dim']]:
    """Tokens after the last block, before the last normalisation, for images of one or several sizes.

    Args:
        model: A network that :func:`has_plain_blocks`.
        views: For each size, the output of :func:`embedded`.
        patches: For each size, whether all tokens are needed; else the result is the class token only.
        compile_mode: As in `TimmBackbone`. It is for packed blocks, which share one graph, and class-token blocks;
            whole blocks of the model are compiled by themselves.
    """
    run = runner_of_blocks(model.grad_checkpointing)
    tokens, rotary = map(list, zip(*views))
    *blocks, last = model.blocks
    # A block that draws its own stochastic depth would be compiled once for each rate; PyTorch gives up after eight.
    if len(views) == 1 and not (compile_mode and model.training):
        for block in blocks:
            tokens = [run(_whole_block, block, tokens[0], rotary[0])]
    else:
        shapes = [tuple(one_size.shape[:2]) for one_size in tokens]
        packed = torch.cat([one_size.flatten(0, 1) for one_size in tokens])
        as_forward = functools.partial(
            _as_forward, functools.partial(_with_depth, _compiled(packed_block, compile_mode))
        )
        for block in blocks:
            packed = run(as_forward, block, packed, shapes, rotary)
        tokens = _unpacked(packed, shapes)
    for_class = functools.partial(_as_forward, _compiled(class_token_block, compile_mode))
    last_blocks = [_whole_block if wanted else for_class for wanted in patches]
    return [run(function, last, *view) for function, *view in zip(last_blocks, tokens, rotary)]


def class_token_block(
    block: nn.Module, tokens: Float[Tensor, 'batch tokens dim'], rotary: Tensor | None
) -> Float[Tensor, 'batch 1 dim']:
    """``block`` for the class token only: keys and values come from all tokens, everything else from this one.

    Args:
        block: Of a network that :func:`has_plain_blocks`.
        tokens: Class token first.
        rotary: Positions of the patches, as timm passes them to its blocks.
    """
    attention, normed = block.attn, block.norm1(tokens)
    width = attention.qkv.out_features // 3
    weights, biases = attention.qkv.weight.split([width, 2 * width]), (None, None)
    if (bias := qkv_bias(attention)) is not None:
        biases = bias.split([width, 2 * width])
    (query,) = split_heads(linear(normed[:, :1], weights[0], biases[0]), 1, attention)
    key, value = split_heads(linear(normed, weights[1], biases[1]), 2, attention)
    joined = attend(attention, query, key, value, rotary)  # the class token has no rotary position
    x = tokens[:, :1] + block.drop_path1(_scaled(block, 1, project(attention, joined)))
    return x + block.drop_path2(_scaled(block, 2, block.mlp(block.norm2(x))))


def packed_block(
    block: nn.Module,
    tokens: Float[Tensor, 'tokens dim'],
    depths: Sequence[Depth],
    rotary: Sequence[Tensor | None],
) -> Float[Tensor, 'tokens dim']:
    """``block`` on packed tokens: attention for each size separately, everything else for all tokens together.

    Args:
        block: Of a network that :func:`has_plain_blocks`.
        tokens: Of all images of all sizes.
        depths: What stochastic depth drew for attention and MLP.
        rotary: For each size, as in :func:`class_token_block`.
    """
    attention, (first, second) = block.attn, depths
    # `norm.forward`, not `norm`: its hook would drop samples, which `depths` has done already.
    qkv = linear(block.norm1.forward(first.entering(tokens)), attention.qkv.weight, qkv_bias(attention))
    joined = [
        attend(attention, *split_heads(one_size, 3, attention), rotary=positions).flatten(0, 1)
        for one_size, positions in zip(_unpacked(qkv, first.shapes), rotary)
    ]
    tokens = first.add(tokens, _scaled(block, 1, project(attention, torch.cat(joined))))
    residual = block.mlp(block.norm2.forward(second.entering(tokens)))
    return second.add(tokens, _scaled(block, 2, residual))


def _with_depth(
    function: Callable[..., Tensor], block: nn.Module, tokens: Tensor, shapes: Shapes, rotary: list
) -> Tensor:
    """:func:`packed_block`, with stochastic depth drawn outside it: inside, each rate would compile a new graph."""
    depths = [draw_depth(drop_path, shapes, tokens) for drop_path in (block.drop_path1, block.drop_path2)]
    return function(block, tokens, depths, rotary)


def _as_forward(function: Callable[..., Tensor], block: nn.Module, *inputs: Any) -> Tensor:
    """``function(block, *inputs)`` in place of the block's forward pass, between its hooks, which FSDP needs."""
    block.forward = functools.partial(function, block)
    try:
        return block._call_impl(*inputs)  # not the compiled call: the function is compiled by itself
    finally:
        del block.forward


def _whole_block(block: nn.Module, tokens: Tensor, rotary: Tensor | None) -> Tensor:
    return block(tokens) if rotary is None else block(tokens, rope=rotary)


def _unpacked(packed: Float[Tensor, 'tokens dim'], shapes: Shapes) -> list[Tensor]:
    sizes = [batch * length for batch, length in shapes]
    return [part.unflatten(0, shape) for part, shape in zip(packed.split(sizes), shapes)]


def _scaled(block: nn.Module, branch: int, residual: Tensor) -> Tensor:
    """The residual times LayerScale, if there is one: a module in ViT's blocks, a vector in EVA's."""
    if isinstance(block, Block):
        return getattr(block, f'ls{branch}')(residual)
    scale = getattr(block, f'gamma_{branch}')
    return residual if scale is None else scale * residual


class _Entrance(nn.Module):
    """Replaces all blocks: returns the tokens and keeps their rotary positions."""

    rotary: Tensor | None = None

    def forward(self, tokens: Tensor, rope: Tensor | None = None, **_) -> Tensor:
        self.rotary = rope
        return tokens


@functools.cache
def _compiled(function: Callable[..., Tensor], mode: str | bool) -> Callable[..., Tensor]:
    return torch.compile(function, mode=None if mode is True else mode) if mode else function
