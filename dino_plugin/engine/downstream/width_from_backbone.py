"""Necks and heads with the width of the backbone, whichever network that is."""

import re
from typing import Any

from mmengine.config import ConfigDict
from torch import nn

from dino_plugin.registry import MODELS

_FORMS = "'width', 'width // NUMBER', 'widths', 'widths[NUMBER]', 'sum(widths)'"


def width_from_backbone(model: str | type, backbone: dict, **parts) -> nn.Module:
    """Build a model of any OpenMMLab package whose other parts take their widths from the backbone.

    In a config, with all arguments where the package has them::

        model=dict(
            type='dino_plugin.WidthFromBackbone',
            model='EncoderDecoder',
            backbone=dict(type='dino_plugin.TimmFeatureMaps', checkpoint='epoch_100.pth'),
            decode_head=dict(type='FCNHead', in_channels='width', channels='width', ...))

    The result is the EncoderDecoder itself. These texts are replaced, anywhere outside of ``backbone``:

    - 'width': the channels of a map, if all maps have the same; 'width // NUMBER', for example for attention heads
    - 'widths': the list of the maps' channels; 'widths[NUMBER]' is one of them, 'sum(widths)' their sum

    Args:
        model: The model's class, or its name.
        backbone: Config of a backbone that has ``out_channels``, a tuple: `TimmFeatureMaps`, `TimmFeatureVector`.
        **parts: All other arguments of the model. Numbers stay as they are.

    Raises:
        TypeError: If the backbone has no tuple ``out_channels``.
        ValueError: For 'width' with maps of several widths, a quotient of 0, a map that does not exist, or another
            text with the word width in it.
    """
    network = MODELS.build(backbone)
    widths = getattr(network, 'out_channels', None)
    if not isinstance(widths, tuple):
        raise TypeError(
            f'WidthFromBackbone: {type(network).__name__} has no tuple out_channels that says how wide it is; use '
            f'dino_plugin.TimmFeatureMaps, or type={model!r} with numbers in the config.'
        )
    # The model builds its backbone from a config; this config returns the network that is already built.
    return MODELS.build(ConfigDict(type=model, backbone=dict(type=lambda: network), **_filled(parts, widths)))


def _filled(value: Any, widths: tuple[int, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(entry, widths) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(entry, widths) for entry in value)
    return _number(value, widths) if isinstance(value, str) and re.search(r'\bwidths?\b', value) else value


def _number(text: str, widths: tuple[int, ...]) -> int | list[int]:
    text = text.replace(' ', '')  # as mmengine's --cfg-options does
    if text == 'widths':
        return list(widths)
    if text == 'sum(widths)':
        return sum(widths)
    if index := re.fullmatch(r'widths\[(-?\d+)\]', text):
        number = int(index[1])
        if not -len(widths) <= number < len(widths):
            raise ValueError(f'WidthFromBackbone: {text!r} does not exist; the backbone gives {len(widths)} maps.')
        return widths[number]
    quotient = re.fullmatch(r'width(?://([1-9]\d*))?', text)
    if not quotient:
        raise ValueError(f'WidthFromBackbone: {text!r} is none of {_FORMS}.')
    if len(set(widths)) > 1:
        raise ValueError(
            f'WidthFromBackbone: {text!r} needs maps of one width, but the backbone gives {list(widths)}. Write '
            "'widths' or 'widths[NUMBER]' there. A neck that makes a pyramid of a transformer's maps is not needed "
            'with a convolutional network: --cfg-options model.neck=None.'
        )
    number = widths[0] // int(quotient[1] or 1)
    if number < 1:
        raise ValueError(
            f'WidthFromBackbone: {text!r} is 0 with a backbone of width {widths[0]}; write a number there.'
        )
    return number
