"""timm's pre-norm blocks, run with less work where the result is the same.

Where nobody looks at the patches, the last block is needed for the class token alone. And what treats each token by
itself (normalisations, linear layers, MLP) can take views of several sizes at once.
"""

import functools
from collections.abc import Callable, Sequence

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
    apply_rot_embed_cat,
)
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from dino_plugin.backbones.packed_depth import Depth, Shapes, draw_depth
from dino_plugin.backbones.stochastic_depth import SubsetDropPath

_NORMS = (nn.Identity, nn.LayerNorm, LayerNorm, RmsNorm)
_ATTENTIONS = (Attention, EvaAttention, AttentionRope)
_PARTS_OF_A_BLOCK = (*_NORMS, *_ATTENTIONS, LayerScale, DropPath, SubsetDropPath, Mlp, GluMlp, SwiGLU)
_PARTS_OF_ATTENTION = (*_NORMS, nn.Linear, nn.Dropout)


def is_known(model: nn.Module) -> bool:
    """Whether this file computes what the network does: each part is, by its exact class, one that is known here."""
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
    """What enters the first block of a network that :func:`is_known`, and the rotary positions of its patches.

    It is timm's own forward pass, with the blocks and the last normalisation taken out.
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
    """Tokens behind the last block, not yet normalised, of images of one size or, packed, of several.

    Args:
        model: A network that :func:`is_known`.
        views: For each size, what is :func:`embedded`.
        patches: For each size, whether all tokens are wanted; else there is the class token only.
        compile_mode: As in `TimmBackbone`, for packed blocks, which share one graph, and the last block where it
            computes class tokens; others are compiled or not as they come.
    """
    run = functools.partial(checkpoint, use_reentrant=False) if model.grad_checkpointing else _run
    tokens, rotary = map(list, zip(*views))
    *blocks, last = model.blocks
    # In training a block that draws its own depth would be compiled anew for its rate; PyTorch gives up after eight.
    if len(views) == 1 and not (compile_mode and model.training):
        for block in blocks:
            tokens = [run(_whole_block, block, tokens[0], rotary[0])]
    else:
        shapes = [tuple(one_size.shape[:2]) for one_size in tokens]
        packed = torch.cat([one_size.flatten(0, 1) for one_size in tokens])
        for block in blocks:
            packed = run(_with_depth, _compiled(packed_block, compile_mode), block, packed, shapes, rotary)
        tokens = _unpacked(packed, shapes)
    for_class = _compiled(class_token_block, compile_mode)
    last_blocks = [_whole_block if wanted else for_class for wanted in patches]
    return [run(function, last, *view) for function, *view in zip(last_blocks, tokens, rotary)]


def class_token_block(
    block: nn.Module, tokens: Float[Tensor, 'batch tokens dim'], rotary: Tensor | None
) -> Float[Tensor, 'batch 1 dim']:
    """What ``block`` makes of the class token: keys and values of all tokens, everything else of this one alone.

    Args:
        block: Of a network that :func:`is_known`.
        tokens: Class token first.
        rotary: Positions of the patches, as timm hands them to its blocks.
    """
    attention, normed = block.attn, block.norm1(tokens)
    width = attention.qkv.out_features // 3
    weights, biases = attention.qkv.weight.split([width, 2 * width]), (None, None)
    if (bias := _qkv_bias(attention)) is not None:
        biases = bias.split([width, 2 * width])
    (query,) = _heads(linear(normed[:, :1], weights[0], biases[0]), 1, attention)
    key, value = _heads(linear(normed, weights[1], biases[1]), 2, attention)
    joined = _attended(attention, query, key, value, rotary)  # the class token has no position, so it is not turned
    x = tokens[:, :1] + block.drop_path1(_scaled(block, 1, _projected(attention, joined)))
    return x + block.drop_path2(_scaled(block, 2, block.mlp(block.norm2(x))))


def packed_block(
    block: nn.Module,
    tokens: Float[Tensor, 'tokens dim'],
    depths: Sequence[Depth],
    rotary: Sequence[Tensor | None],
) -> Float[Tensor, 'tokens dim']:
    """Attention among the tokens of an image; everything else on the tokens of all images of all sizes together.

    Args:
        block: Of a network that :func:`is_known`.
        tokens: Of all images of all sizes.
        depths: What was drawn for attention and MLP.
        rotary: For each size, as in :func:`class_token_block`.
    """
    attention, (first, second) = block.attn, depths
    # Of the norms, forward alone: their hooks choose samples of one size, and the tokens of these are chosen already.
    qkv = linear(block.norm1.forward(first.entering(tokens)), attention.qkv.weight, _qkv_bias(attention))
    joined = [
        _attended(attention, *_heads(one_size, 3, attention), rotary=positions).flatten(0, 1)
        for one_size, positions in zip(_unpacked(qkv, first.shapes), rotary)
    ]
    tokens = first.add(tokens, _scaled(block, 1, _projected(attention, torch.cat(joined))))
    residual = block.mlp(block.norm2.forward(second.entering(tokens)))
    return second.add(tokens, _scaled(block, 2, residual))


def _with_depth(
    function: Callable[..., Tensor], block: nn.Module, tokens: Tensor, shapes: Shapes, rotary: list
) -> Tensor:
    """:func:`packed_block`, compiled or not. Were depth drawn within, each block's rate would be a graph of its own."""
    depths = [draw_depth(drop_path, shapes, tokens) for drop_path in (block.drop_path1, block.drop_path2)]
    return function(block, tokens, depths, rotary)


def _whole_block(block: nn.Module, tokens: Tensor, rotary: Tensor | None) -> Tensor:
    return block(tokens) if rotary is None else block(tokens, rope=rotary)


def _unpacked(packed: Float[Tensor, 'tokens dim'], shapes: Shapes) -> list[Tensor]:
    sizes = [batch * length for batch, length in shapes]
    return [part.unflatten(0, shape) for part, shape in zip(packed.split(sizes), shapes)]


def _qkv_bias(attention: nn.Module) -> Tensor | None:
    """EVA has none for keys, and keeps the others apart."""
    if getattr(attention, 'q_bias', None) is None:
        return attention.qkv.bias
    return torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])


def _heads(projected: Float[Tensor, 'batch tokens width'], number: int, attention: nn.Module) -> tuple[Tensor, ...]:
    """Each of the joint projections, as ``batch heads tokens head_dim``."""
    return projected.unflatten(-1, (number, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def _attended(
    attention: nn.Module, query: Tensor, key: Tensor, value: Tensor, rotary: Tensor | None
) -> Float[Tensor, 'batch queries width']:
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rotary is not None:
        query, key = (_turned(x, attention, rotary).type_as(value) for x in (query, key))
    if attention.fused_attn:
        dropout = attention.attn_drop.p if attention.training else 0.0
        values = scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    else:
        values = attention.attn_drop(((query * attention.scale) @ key.mT).softmax(dim=-1)) @ value
    return values.transpose(1, 2).flatten(2)


def _turned(x: Float[Tensor, 'batch heads tokens head_dim'], attention: nn.Module, rotary: Tensor) -> Tensor:
    """The patches by their positions; class token and registers have none."""
    prefix, patches = x[:, :, : attention.num_prefix_tokens], x[:, :, attention.num_prefix_tokens :]
    if patches.shape[2] == 0:
        return x
    return torch.cat([prefix, apply_rot_embed_cat(patches, rotary, half=attention.rotate_half)], dim=2)


def _projected(attention: nn.Module, joined: Tensor) -> Tensor:
    return attention.proj_drop(attention.proj(attention.norm(joined)))


def _scaled(block: nn.Module, branch: int, residual: Tensor) -> Tensor:
    """By LayerScale, where there is one: a module in ViT's blocks, a vector in EVA's."""
    if type(block) is Block:
        return getattr(block, f'ls{branch}')(residual)
    scale = getattr(block, f'gamma_{branch}')
    return residual if scale is None else scale * residual


class _Entrance(nn.Module):
    """Stands in the place of all blocks: lets the tokens through and keeps their rotary positions."""

    rotary: Tensor | None = None

    def forward(self, tokens: Tensor, rope: Tensor | None = None, **_) -> Tensor:
        self.rotary = rope
        return tokens


def _run(function: Callable[..., Tensor], *arguments) -> Tensor:
    return function(*arguments)


@functools.cache
def _compiled(function: Callable[..., Tensor], mode: str | bool) -> Callable[..., Tensor]:
    return torch.compile(function, mode=None if mode is True else mode) if mode else function
