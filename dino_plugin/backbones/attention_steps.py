"""The steps of timm's attention as functions, to run them for one token or for packed images."""

import torch
from jaxtyping import Float
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def qkv_bias(attention: nn.Module) -> Tensor | None:
    """The joint bias; EVA stores those of queries and values separately and has none for keys."""
    if getattr(attention, 'q_bias', None) is None:
        return attention.qkv.bias
    return torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])


def split_heads(joint: Float[Tensor, 'batch tokens width'], number: int, attention: nn.Module) -> tuple[Tensor, ...]:
    """Each of ``number`` joint projections, as ``batch heads tokens head_dim``."""
    return joint.unflatten(-1, (number, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def attend(
    attention: nn.Module, query: Tensor, key: Tensor, value: Tensor, rotary: Tensor | None
) -> Float[Tensor, 'batch queries width']:
    """The attention-weighted sums of the values, heads concatenated."""
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rotary is not None:
        query, key = (_rotate(x, attention, rotary).type_as(value) for x in (query, key))
    if attention.fused_attn:
        dropout = attention.attn_drop.p if attention.training else 0.0
        values = scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    else:
        values = attention.attn_drop(((query * attention.scale) @ key.mT).softmax(dim=-1)) @ value
    return values.transpose(1, 2).flatten(2)


def _rotate(x: Float[Tensor, 'batch heads tokens head_dim'], attention: nn.Module, rotary: Tensor) -> Tensor:
    """Applies rotary positions to the patches; class token and registers have none."""
    prefix, patches = x[:, :, : attention.num_prefix_tokens], x[:, :, attention.num_prefix_tokens :]
    if patches.shape[2] == 0:
        return x
    return torch.cat([prefix, apply_rot_embed_cat(patches, rotary, half=attention.rotate_half)], dim=2)


def project(attention: nn.Module, joined: Tensor) -> Tensor:
    """The output projection."""
    return attention.proj_drop(attention.proj(attention.norm(joined)))
