"""Building the timm network: its name and arguments, from the config or a file, and the model itself."""

import difflib
import inspect
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from mmengine.logging import print_log
from torch import nn

from dino_plugin.weights.checkpoint import backbone_description

_REFUSED = {
    'init_cfg': 'give the weights by checkpoint=PATH or pretrained=True; mmengine would only log what does not fit',
    **dict.fromkeys(
        ['checkpoint_path', 'pretrained_cfg', 'pretrained_cfg_overlay'],
        'give the weights by checkpoint=PATH, which reads files of any program and runs nothing from them',
    ),
}
# The options of TimmBackbone itself, for messages.
_OWN = (
    'model_name', 'pretrained', 'checkpoint', 'checkpoint_source', 'allow_mismatch', 'gradient_checkpointing',
    'subset_drop_path', 'mask_token', 'local_norm', 'compile_blocks', 'pack_views', 'position_resampling', 'token_std',
    'lora', 'float8', 'drop_masked',
)  # fmt: skip
ROTARY_AUGMENTATIONS = {'rope_shift_coords', 'rope_jitter_coords', 'rope_rescale_coords'}


def described(description: dict | None, checkpoint: str | None, timm_arguments: dict) -> tuple[str, dict]:
    """Name and arguments of the network in a file; the given arguments take precedence.

    Raises:
        ValueError: If there is no file, or it does not describe its network.
    """
    if description is None:
        given = (
            f'{checkpoint} does not say which network it holds. Name it'
            if checkpoint
            else 'there is no checkpoint. Give one (--cfg-options model.backbone.checkpoint=FILE), or name the network'
        )
        raise ValueError(
            f'TimmBackbone: no model_name is given, and {given} as timm does, for example '
            "model_name='vit_small_patch16_224' (--cfg-options model.backbone.model_name=vit_small_patch16_224)."
        )
    arguments = {key: value for key, value in description['timm_arguments'].items() if key != 'num_classes'}
    return description['model_name'], {**arguments, **timm_arguments}


def description_in(content: dict, checkpoint: str, source: str, model_name: str | None) -> dict | None:
    """The description in a file; one that is refused is not needed if the config names the network.

    Raises:
        ValueError: If it is refused, and nothing else names the network.
    """
    try:
        return backbone_description(content, checkpoint, source)
    except ValueError as error:
        if model_name is None:
            raise
        print_log(f'The description in the file is left out: {error}', logger='current', level=logging.WARNING)
        return None


def source_of_weights(pretrained: bool | str | None, checkpoint: str | None) -> tuple[bool, str | None]:
    """Whether timm's weights are wanted, and the file; `pretrained` may be a file, as in configs of OpenMMLab.

    Raises:
        TypeError: If `pretrained` is something else.
        ValueError: If there are two sources of weights.
    """
    is_path = isinstance(pretrained, str) and pretrained.lower() not in ('', 'true', 'false', 'none')
    if not is_path and not isinstance(pretrained, bool | None):
        raise TypeError(f"TimmBackbone: pretrained={pretrained!r}; expected True for timm's weights, False, or a file.")
    if pretrained and checkpoint:
        raise ValueError(
            f'TimmBackbone: pretrained={pretrained!r} and checkpoint={checkpoint!r} are two sources of weights; give '
            'one.'
        )
    return (False, pretrained) if is_path else (bool(pretrained), checkpoint)


def accepted(timm_arguments: dict) -> dict:
    """The arguments without other ways to load weights, which must not be set.

    Raises:
        ValueError: If one is; the message says what to write instead.
    """
    for name, cure in _REFUSED.items():
        if timm_arguments.get(name):
            raise ValueError(f'TimmBackbone: {name}={timm_arguments[name]!r} is not accepted; {cure}.')
    return {key: value for key, value in timm_arguments.items() if key not in _REFUSED}


def create(model_name: str, pretrained: bool, timm_arguments: dict) -> nn.Module:
    """timm's model without a classifier, for images of any size.

    Raises:
        ValueError: If timm does not know the name or an argument.
    """
    if not timm.is_model(model_name):
        similar = timm.list_models(f'*{model_name.split("_")[0]}*')[:5]
        raise ValueError(f'TimmBackbone: timm has no model {model_name!r}; similar names: {similar}.')
    arguments = {key: value for key, value in timm_arguments.items() if key not in ROTARY_AUGMENTATIONS}
    try:  # transformers accept any image size only with this argument
        model = _built(model_name, pretrained, {'dynamic_img_size': True, **arguments})
    except TypeError as error:
        if 'dynamic_img_size' not in str(error):
            raise
        model = _built(model_name, pretrained, arguments)
    _augment_rotary_positions(model, {key: timm_arguments[key] for key in ROTARY_AUGMENTATIONS & timm_arguments.keys()})
    return model


def form_of(model_name: str, timm_arguments: Mapping[str, Any]) -> nn.Module:
    """timm's model as names and shapes alone, on the meta device: quick, and without memory for weights.

    Raises:
        TypeError: timm's, if it does not know an argument.
    """
    arguments = {key: value for key, value in timm_arguments.items() if key not in ROTARY_AUGMENTATIONS}
    arguments['num_classes'] = 0
    with torch.device('meta'):
        try:
            return timm.create_model(model_name, **{'dynamic_img_size': True, **arguments})
        except TypeError as error:
            if 'dynamic_img_size' not in str(error):
                raise
            return timm.create_model(model_name, **arguments)


def _built(model_name: str, pretrained: bool, arguments: dict) -> nn.Module:
    try:
        return timm.create_model(model_name, pretrained, num_classes=0, **arguments)
    except (TypeError, AssertionError) as error:
        unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise ValueError(f'TimmBackbone: timm cannot build {model_name} with {arguments}: {error}.') from error
        if unknown[2] == 'dynamic_img_size':
            raise
        constructor = getattr(sys.modules[timm.model_entrypoint(model_name).__module__], unknown[1], None)
        known = [*_OWN, *(inspect.signature(constructor).parameters if constructor else ())]
        similar = difflib.get_close_matches(unknown[2], known, n=3) or known
        raise ValueError(
            f'TimmBackbone: {model_name} has no argument {unknown[2]!r}. Similar ones, or all: {", ".join(similar)}.'
        ) from error


def _augment_rotary_positions(model: nn.Module, augmentations: dict[str, float | None]) -> None:
    """Sets the augmentations of rotary positions; older versions of timm do not take them as arguments."""
    rope = getattr(model, 'rope', None)
    if augmentations and not hasattr(rope, 'aug_active'):
        raise ValueError(
            f"TimmBackbone: {sorted(augmentations)} augment DINOv3's rotary positions, which "
            f'{type(model).__name__} does not have; leave them out.'
        )
    for key, value in augmentations.items():
        setattr(rope, key.removeprefix('rope_'), value)
    if augmentations:
        parts = (rope.shift_coords, rope.jitter_coords, rope.rescale_coords)
        rope.aug_active = any(part is not None for part in parts)
