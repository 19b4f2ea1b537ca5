"""The description of a network in a checkpoint or beside it: read and checked, since anybody may write one."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dino_plugin.weights.positions import rule_named

# Largest value of each number, or of each number in a list. The limits are far above any known network; they keep a
# damaged or hostile description from building for hours.
_LARGEST = (
    dict.fromkeys(['img_size'], 8192)
    | dict.fromkeys(['in_chans', 'patch_size', 'num_classes', 'stem_size', 'stem_width', 'stem_chs'], 4096)
    | dict.fromkeys(['embed_dim', 'embed_dims', 'dim', 'dims', 'width', 'widths', 'channels', 'base_width'], 16384)
    | dict.fromkeys(['depth', 'depths', 'layers'], 256)
    | dict.fromkeys(['num_heads', 'num_kv_heads', 'head_dim', 'cardinality', 'reg_tokens', 'num_reg_tokens'], 1024)
    | dict.fromkeys(['mlp_ratio', 'mlp_ratios', 'expand_ratio', 'window_size', 'kernel_size', 'kernel_sizes'], 64)
    | dict.fromkeys(['output_stride', 'swiglu_align_to', 'rope_temperature'], 1e6)
    | dict.fromkeys(['init_values', 'ls_init_value', 'layer_scale_init_value', 'norm_eps'], 10)
    | dict.fromkeys(['rope_shift_coords', 'rope_jitter_coords', 'rope_rescale_coords'], 100)
    | dict.fromkeys(['drop_rate', 'drop_path_rate', 'attn_drop_rate', 'proj_drop_rate', 'pos_drop_rate'], 1)
    | dict.fromkeys(['patch_drop_rate', 'drop_block_rate', 'drop'], 1)
    | dict.fromkeys(['qkv_bias', 'proj_bias', 'qk_norm', 'qkv_fused', 'pre_norm', 'final_norm', 'fc_norm'], 1)
    | dict.fromkeys(['use_fc_norm', 'class_token', 'no_embed_class', 'pool_include_prefix', 'always_partition'], 1)
    | dict.fromkeys(['dynamic_img_size', 'dynamic_img_pad', 'strict_img_size', 'swiglu_mlp', 'scale_mlp'], 1)
    | dict.fromkeys(['scale_attn_norm', 'scale_mlp_norm', 'scale_attn_inner', 'use_abs_pos_emb', 'use_rot_pos_emb'], 1)
    | dict.fromkeys(['use_rel_pos_bias', 'use_shared_rel_pos_bias', 'rope_rotate_half', 'avg_down', 'conv_bias'], 1)
    | dict.fromkeys(['distillation', 'zero_init_last', 'head_norm_first', 'gated_attn', 'bias'], 1)
)
_WORDS = {
    'act_layer', 'norm_layer', 'aa_layer', 'global_pool', 'pos_embed', 'weight_init', 'fix_init', 'stem_type',
    'rope_type', 'attn_type', 'pad_type', 'pool_type', 'downsamples',
}  # fmt: skip
_LONGEST_LIST, _DEEPEST_LIST = 16, 3
_LARGEST_CARD = 1 << 20  # bytes
# A file may leave out biases of zeros and the like.
_SURPLUS_OF_NETWORK, _SMALL_NETWORK = 1.5, 10_000_000  # times; parameters


def read_card(weights: Path) -> Mapping[str, Any] | None:
    """The `.json` beside an exported backbone, or None if there is none or it names no network.

    The `config.json` of one of timm's repositories on the Hugging Face Hub is read, too.

    Raises:
        ValueError: If it is damaged.
    """
    path = weights.with_suffix('.json')
    if path.is_file() and path != weights:
        content = _read_json(path)
        return content if isinstance(content, Mapping) and 'model_name' in content else None
    path = weights.with_name('config.json')
    content = _read_json(path) if weights.stem in ('model', 'pytorch_model') and path.is_file() else None
    if isinstance(content, Mapping) and isinstance(content.get('architecture'), str):
        return {'model_name': content['architecture'], 'timm_arguments': content.get('model_args') or {}}
    return None


def checked_description(description: Mapping[str, Any], state: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Name, arguments and rule for positions of a description, which can do no more than build timm's network.

    Args:
        description: As in `backbone_description`; other entries are left out.
        state: The tensors of the file, which show how large the network may be.
        path: Of the file, for messages.

    Raises:
        ValueError: If the name is not of `timm.list_models()`, an argument is none that shapes a network or out of
            bounds, the rule for positions does not exist, or the network is much larger than the file.
    """
    import timm

    name, arguments = description.get('model_name'), description.get('timm_arguments') or {}
    if not isinstance(name, str) or not re.fullmatch(r'[\w.]{1,200}', name) or not timm.is_model(name):
        raise ValueError(f'{path} describes a network {str(name)[:200]!r}, which timm does not have; {_CURE}')
    if not isinstance(arguments, Mapping):
        raise ValueError(f'{path} has timm_arguments that are no dictionary: {str(arguments)[:200]!r}; {_CURE}')
    for key, value in arguments.items():
        if problem := _problem(key, value):
            raise ValueError(f'{path} describes {name} with {key}={str(value)[:200]!r}: {problem}; {_CURE}')
    checked = {
        'model_name': name,
        'timm_arguments': dict(arguments),
        'position_resampling': description.get('position_resampling', 'timm'),
    }
    try:
        rule_named(checked['position_resampling'])
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path}: {error}') from error
    _compare_sizes(checked, state, path)
    return checked


def described_grid(description: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of the patch grid of a described network; None if it has no patches.

    Raises:
        ValueError: If timm cannot build the network.
    """
    try:
        model = _without_memory(description)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f'timm cannot build the network that the file describes, {dict(description)}: {error}'
        ) from error
    grid = getattr(getattr(model, 'patch_embed', None), 'grid_size', None)
    return None if grid is None else tuple(grid)


_CURE = 'name the network in the config, with model_name and its arguments'


def _problem(key: Any, value: Any) -> str | None:
    """What is wrong with an argument; None if nothing is."""
    if key in _WORDS:
        valid = isinstance(value, str | None) and re.fullmatch(r'\w{0,64}', value or '')
        return None if valid or isinstance(value, bool) else 'expected a name'
    if key not in _LARGEST:
        return 'no argument that shapes a network'
    numbers = [*_flat(value)]
    if value is not None and not all(isinstance(number, int | float) for number in numbers):
        return f'expected numbers, in lists of at most {_LONGEST_LIST}'
    largest = _LARGEST[key]
    return None if value is None or all(0 <= number <= largest for number in numbers) else f'expected 0 to {largest}'


def _flat(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, list | tuple) and len(value) <= _LONGEST_LIST and depth < _DEEPEST_LIST:
        for entry in value:
            yield from _flat(entry, depth + 1)
    else:
        yield value


def _compare_sizes(description: Mapping[str, Any], state: Mapping[str, Any], path: str | Path) -> None:
    """Refuses a network that would need much more memory than the file has weights for."""
    try:
        model = _without_memory(description)
    except (RuntimeError, TypeError, ValueError, AssertionError):
        return  # the network itself is built later, with the message of its error; some need memory in older versions
    expected = sum(parameter.numel() for parameter in model.parameters())
    found = sum(value.numel() for value in _tensors(state))
    if expected > _SURPLUS_OF_NETWORK * found + _SMALL_NETWORK:
        raise ValueError(
            f'{path} describes {description["model_name"]} with {expected:,} parameters and holds {found:,} numbers; '
            f'{_CURE}'
        )


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)


def _without_memory(description: Mapping[str, Any]) -> nn.Module:
    import timm

    with torch.device('meta'):
        return timm.create_model(description['model_name'], **{**description['timm_arguments'], 'num_classes': 0})


def _read_json(path: Path) -> Any:
    if (size := path.stat().st_size) > _LARGEST_CARD:
        raise ValueError(f'{path} has {size:,} bytes; a description has at most {_LARGEST_CARD:,}.')
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error}); copy or export it again, or delete it.') from error
