"""Strict loading of weights: everything fits, or an error lists the keys that do not."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dino_plugin.weights.first_layer import fit_first_layer
from dino_plugin.weights.key_tables.key_values import fold_class_position
from dino_plugin.weights.networks.descriptions import described_grid
from dino_plugin.weights.positions import Rule, resampled, rule_named
from dino_plugin.weights.reading.file_checks import check_finite

_SHOWN_KEYS = 5


class LoadReport(NamedTuple):
    """What `load_backbone` did, as lists of timm's keys."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    resampled: list[str]
    inflated: list[str]

    def __str__(self) -> str:
        text = f'{len(self.loaded)} loaded, {len(self.missing)} missing, {len(self.unexpected)} unexpected keys'
        text += f', {len(self.resampled)} position embedding(s) resampled' if self.resampled else ''
        return text + (f'; {self.inflated[0]}, trained on RGB, spread over other channels' if self.inflated else '')


def load_backbone(
    model: nn.Module,
    state: Mapping[str, Tensor],
    allow_mismatch: bool = False,
    name: str = 'the checkpoint',
    description: Mapping[str, Any] | None = None,
    position_resampling: str = 'timm',
) -> LoadReport:
    """Loads tensors under timm's names into a timm model, strictly, and logs how many keys matched.

    A `pos_embed` of another grid is resampled. A position of the class token is added to the token or filled with zeros
    if only one side has it. The grid in the file is the one of the description, else a square. A first layer for RGB is
    fitted to other channels, see `fit_first_layer`. Any other difference in shape is an error, with `allow_mismatch`
    too. Biases of zeros (in most of DINOv3's files) and LayerScale of ones are
    ignored if the model has none. A file without LayerScale fits a model whose LayerScale is 1 everywhere
    (``init_values=1.0``), and no other: with 1e-5 the blocks would have next to no effect.

    Args:
        model: A timm model; changed in place, unless an error is raised.
        state: From `backbone_state`.
        allow_mismatch: Accept missing and unexpected keys (but not if no key matches).
        name: Source of `state` in messages, such as the path of the file.
        description: From `backbone_description`.
        position_resampling: Rule for resampling positions, see `positions`.

    Raises:
        ValueError: If keys or shapes differ; the message lists the first keys of both sides with their shapes. Also if
            several grids are possible and no description tells the grid, if weights are integers or complex numbers, or
            if values are not finite (see `check_finite`).
    """
    from mmengine.logging import print_log

    own = model.state_dict()
    state = {key: value for key, value in state.items() if key in own or not has_no_effect(key, value)}
    state = _as_in_model(state, own, name)
    # Only learnt positions have a grid. Other networks need not be built for it, which some versions of timm cannot.
    grid = described_grid(description) if description is not None and 'pos_embed' in state else None
    state, resampled_keys = _fit_position_embedding(model, own, state, grid, rule_named(position_resampling), name)
    state, inflated = fit_first_layer(own, state)
    report = LoadReport(
        loaded=[key for key in state if key in own],
        missing=[key for key in own if key not in state and not _as_if_missing(key, own[key], state)],
        unexpected=[key for key in state if key not in own],
        resampled=resampled_keys,
        inflated=inflated,
    )
    reshaped = [key for key in report.loaded if own[key].shape != state[key].shape]
    if reshaped or not report.loaded or ((report.missing or report.unexpected) and not allow_mismatch):
        raise ValueError(_mismatch(name, report, reshaped, own, state))
    model.load_state_dict(state, strict=False)
    print_log(f'Backbone from {name}: {report}.', logger='current')
    return report


def _as_in_model(state: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors in the model's types, finite.

    Raises:
        ValueError: If weights are integers or complex numbers, or infinite in the model's type.
    """
    wrong = [key for key, value in state.items() if key in own and not _converts(value, own[key])]
    if wrong:
        shown = ', '.join(f'{key} ({state[key].dtype})' for key in wrong[:_SHOWN_KEYS])
        raise ValueError(
            f'{name} holds {len(wrong)} tensors of a type that cannot be a weight, among them {shown}; the model has '
            f'{own[wrong[0]].dtype}. Weights that were quantised must be exported without quantisation.'
        )
    state = {key: value.to(own[key].dtype) if key in own else value for key, value in state.items()}
    check_finite(state, name)
    return state


def _converts(value: Tensor, own: Tensor) -> bool:
    """Whether values of one type stand for values of the other: both are integers, or both are not."""
    return value.dtype == own.dtype or (
        value.layout is torch.strided
        and not (value.is_complex() or value.is_quantized)
        and value.is_floating_point() == own.is_floating_point()
    )


def _as_if_missing(key: str, value: Tensor, state: Mapping[str, Tensor]) -> bool:
    """Whether the model computes the same without this tensor of its own."""
    of_ones = is_layer_scale(key) and bool((value == 1).all())
    return key.endswith('num_batches_tracked') or (of_ones and not any(map(is_layer_scale, state)))


def is_layer_scale(key: str) -> bool:
    """Whether it is the name of a vision transformer's LayerScale."""
    return key.endswith(('.ls1.gamma', '.ls2.gamma', '.gamma_1', '.gamma_2'))


def has_no_effect(key: str, value: Tensor) -> bool:
    """Whether a tensor is a bias of queries or values with zeros only, or a LayerScale with ones only."""
    if key.endswith(('.attn.q_bias', '.attn.v_bias')):
        return not value.any()
    return is_layer_scale(key) and bool((value == 1).all())


def _fit_position_embedding(
    model: nn.Module,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    grid: tuple[int, int] | None,
    rule: Rule,
    name: str,
) -> tuple[dict[str, Tensor], list[str]]:
    """Fits `pos_embed` to the model's prefix tokens and grid if these are the only difference."""
    state = dict(state)
    old, new = state.get('pos_embed'), own.get('pos_embed')
    wanted = getattr(getattr(model, 'patch_embed', None), 'grid_size', None)
    if old is None or new is None or wanted is None or old.ndim != 3 or new.ndim != 3 or old.shape[2] != new.shape[2]:
        return state, []
    wanted_prefix = new.shape[1] - wanted[0] * wanted[1]
    grid = grid or _assumed_grid(old.shape[1], wanted_prefix, tuple(wanted), name)
    num_prefix = None if grid is None else old.shape[1] - grid[0] * grid[1]
    if grid is None or num_prefix < 0:
        return state, []
    if num_prefix != wanted_prefix:
        state = _fit_prefix_positions(state, num_prefix, wanted_prefix)
    if grid == tuple(wanted):
        return state, []
    state['pos_embed'] = resampled(state['pos_embed'], grid, tuple(wanted), wanted_prefix, rule)
    return state, ['pos_embed']


def _assumed_grid(num_positions: int, wanted_prefix: int, wanted: tuple[int, int], name: str) -> tuple[int, int] | None:
    """The grid of a file without description: a square, after the model's prefix tokens, none, or the class token.

    Raises:
        ValueError: If it could be the model's own grid or another one with as many patches.
    """
    counts = [num_positions - prefix for prefix in (wanted_prefix, 0, 1) if num_positions > prefix]
    if wanted[0] * wanted[1] in counts:
        if wanted[0] == wanted[1]:
            return wanted
        raise ValueError(
            f'{name} has positions for {wanted[0] * wanted[1]} patches but does not tell their rows and columns; the '
            f'model has {wanted[0]} x {wanted[1]}. Put a .json of the same name beside the file, for example '
            '{"model_name": "vit_small_patch16_224", "timm_arguments": {"img_size": [224, 256]}}.'
        )
    side = next((math.isqrt(count) for count in counts if math.isqrt(count) ** 2 == count), None)
    return None if side is None else (side, side)


def _fit_prefix_positions(state: dict[str, Tensor], num_prefix: int, wanted: int) -> dict[str, Tensor]:
    """Another number of prefix positions, with the same sums of tokens and positions."""
    if (num_prefix, wanted) == (1, 0):
        return fold_class_position(state)
    position = state['pos_embed']
    zeros = position.new_zeros(1, max(wanted - num_prefix, 0), position.shape[2])
    return state | {'pos_embed': torch.cat([position[:, :num_prefix], zeros, position[:, num_prefix:]], dim=1)}


def _mismatch(
    name: str, report: LoadReport, reshaped: list[str], own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    def shapes(keys: list[str], of: Mapping[str, Tensor]) -> str:
        shown = ', '.join(f'{key} {tuple(of[key].shape)}' for key in keys[:_SHOWN_KEYS])
        return shown + (f' and {len(keys) - _SHOWN_KEYS} more' if len(keys) > _SHOWN_KEYS else '')

    lines = [f'The backbone in {name} does not fit the model: {report}.']
    if report.missing:
        lines.append(f'The model also has: {shapes(report.missing, own)}.')
    if report.unexpected:
        lines.append(f'The checkpoint also has: {shapes(report.unexpected, state)}.')
    for key in reshaped[:_SHOWN_KEYS]:
        lines.append(f'{key} is {tuple(state[key].shape)} in the checkpoint and {tuple(own[key].shape)} in the model.')
    if report.missing and not report.unexpected and all(map(is_layer_scale, report.missing)):
        lines.append(
            'The checkpoint has no LayerScale: init_values=None builds the model without it, init_values=1.0 with one '
            'that changes nothing before it is trained.'
        )
    lines.append('Build the model with the name and arguments the checkpoint was trained with')
    lines[-1] += '.' if reshaped or not report.loaded else ', or set allow_mismatch=True.'
    return '\n'.join(lines)
