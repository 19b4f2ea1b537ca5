"""Conversion to timm's tensors and back, where other projects split or join them differently."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from dino_plugin.weights.key_tables.key_names import layout_of, matching, names_from_timm, names_to_timm, rename
from dino_plugin.weights.key_tables.layouts import ORIGINAL_ROTARY, Layout

_BLOCK_IN_CHUNK = re.compile(r'^blocks\.\d+\.(\d+)\.')


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's tensors under timm's names, from any of the `layouts`; the keys tell which.

    Mask tokens, rotary periods and poolers are left out. A key that the layout does not know stays unchanged, so that a
    strict load refuses it.
    """
    if 'cls_token' in state:
        # DINOv2 trains in chunks of blocks; the second number counts all blocks.
        state = {_BLOCK_IN_CHUNK.sub(r'blocks.\1.', key): value for key, value in state.items()}
    layout = layout_of(state)
    unused = {key for name in layout.unused for key in matching(state, name)}
    used = {key: value for key, value in state.items() if key not in unused}
    found = rename(used, names_to_timm(layout, state))
    if _separates_attention(layout):
        found = _join_attention(found)
    if layout is ORIGINAL_ROTARY:
        found = _drop_key_bias(found)
    if 'reg_token' in found and 'reg_token' not in state:
        found = fold_class_position(found)
    return found


def from_timm(state: Mapping[str, Tensor], layout: Layout, gated: bool, num_patches: int) -> dict[str, Tensor]:
    """A timm vision transformer's tensors under the names of a layout.

    Args:
        state: Of a timm model.
        layout: One of `layouts`.
        gated: Whether the MLPs are SwiGLU.
        num_patches: Number of patch positions in `pos_embed`; the others belong to class token and registers.

    Raises:
        ValueError: If the layout has no name for a tensor; the message lists the first five.
    """
    names = names_from_timm(layout, gated)
    found = _class_position_only(state, num_patches)
    if _separates_attention(layout):
        found = _separate_attention(found)
    elif layout is ORIGINAL_ROTARY:
        found = _with_key_bias(found)
    known = {key for name, _ in names for key in matching(found, name)}
    if unknown := [key for key in found if key not in known]:
        raise ValueError(f'No name for {len(unknown)} tensors, among them {unknown[:5]}.')
    return rename(found, names)


def fold_class_position(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds the class token's position to the token: timm's models with registers have positions for patches only."""
    if 'pos_embed' not in state or 'cls_token' not in state:
        return state
    position = state['pos_embed']
    return state | {'cls_token': state['cls_token'] + position[:, :1], 'pos_embed': position[:, 1:]}


def _separates_attention(layout: Layout) -> bool:
    return any(name == 'blocks.{}.attn.q_proj' for _, name in layout.names)


def _join_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """q_proj, k_proj, v_proj of each block become qkv, or qkv with q_bias and v_bias if keys have no bias."""
    state = dict(state)
    for block in [key.removesuffix('q_proj.weight') for key in state if key.endswith('.attn.q_proj.weight')]:
        for kind in ('weight', 'bias'):
            found = {part: state[key] for part in 'qkv' if (key := f'{block}{part}_proj.{kind}') in state}
            if [*found] == ['q', 'k', 'v']:
                state[f'{block}qkv.{kind}'] = torch.cat([*found.values()])
            elif [*found] == ['q', 'v'] and kind == 'bias':
                state |= {f'{block}{part}_bias': value for part, value in found.items()}
            else:
                continue
            for part in found:
                del state[f'{block}{part}_proj.{kind}']
    return state


def _separate_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `_join_attention`."""
    separate = {}
    for key, value in state.items():
        block, _, kind = key.rpartition('qkv.')
        if block.endswith('.attn.'):
            separate |= {f'{block}{part}_proj.{kind}': chunk for part, chunk in zip('qkv', value.chunk(3))}
        else:
            separate[re.sub(r'\.attn\.([qv])_bias$', r'.attn.\1_proj.bias', key)] = value
    return separate


def _drop_key_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv3's `qkv.bias`, of which `bias_mask` zeroes the keys' third, becomes timm's q_bias and v_bias.

    A bias of keys that is not masked stays, so that the load is refused: timm has no parameter for it.
    """
    state = dict(state)
    for key in [key for key in state if key.endswith('.attn.qkv.bias')]:
        mask = state.pop(f'{key}_mask', None)
        bias = state[key] if mask is None else torch.where(mask == 0, 0, state[key] * mask)
        query, of_keys, values = bias.chunk(3)
        if of_keys.any():
            continue
        del state[key]
        block = key.removesuffix('qkv.bias')
        state |= {f'{block}q_bias': query, f'{block}v_bias': values}
    return state


def _with_key_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `_drop_key_bias`; a model without any bias of queries and values gets zeros."""
    state = dict(state)
    for key in [key for key in state if key.endswith('.attn.qkv.weight')]:
        block = key.removesuffix('qkv.weight')
        zeros = torch.zeros_like(state[key][:, 0].chunk(3)[0])
        query, values = (state.pop(f'{block}{part}_bias', zeros) for part in 'qv')
        state[f'{block}qkv.bias'] = torch.cat([query, zeros, values])
        state[f'{block}qkv.bias_mask'] = torch.cat([torch.ones_like(zeros), zeros, torch.ones_like(zeros)])
    return state


def _class_position_only(state: Mapping[str, Tensor], num_patches: int) -> dict[str, Tensor]:
    """`pos_embed` of class token and patches, as in all projects but timm; positions of registers are added to them."""
    state = dict(state)
    position = state.get('pos_embed')
    num_prefix = 0 if position is None else position.shape[1] - num_patches
    if position is None or num_prefix == 1:
        return state
    of_prefix, of_patches = position[:, :num_prefix], position[:, num_prefix:]
    if num_prefix:
        state['cls_token'] = state['cls_token'] + of_prefix[:, :1]
        state['reg_token'] = state['reg_token'] + of_prefix[:, 1:]
    return state | {'pos_embed': torch.cat([torch.zeros_like(of_patches[:, :1]), of_patches], dim=1)}
