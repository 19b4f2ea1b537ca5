"""Which images MultiCrop takes: RGB in uint8, or levels of any channels in float32; and which colours fit them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from dino_plugin.data.views.channel_colour import WHITE, operations_on_rgb
from dino_plugin.data.views.photometric import Recipe
from dino_plugin.data.views.unfinished_views import Rgb

Image = UInt8[np.ndarray, '_ _ 3'] | Float32[np.ndarray, '_ _ _']


def checked_rgb(rgb_channels: Sequence[int] | None) -> Rgb | None:
    """The places of red, green and blue as a tuple.

    Raises:
        ValueError: If they are not three different channels.
    """
    if rgb_channels is None:
        return None
    rgb = tuple(rgb_channels)
    if len(rgb) != 3 or len(set(rgb)) != 3 or min(rgb) < 0:
        raise ValueError(f'rgb_channels are the places of red, green and blue, such as (2, 1, 0), got {rgb_channels}')
    return rgb


def require_colours(recipe: Recipe, channels: int, rgb: Rgb | None) -> None:
    """Check that the operations of a recipe exist for an image of so many channels.

    Raises:
        ValueError: If some need red, green and blue, and nobody said where they are, or they are not in the image.
    """
    if rgb is not None and max(rgb) >= channels:
        raise ValueError(
            f'MultiCrop: rgb_channels={rgb} in an image of {channels} channels, which are 0 to {channels - 1}'
        )
    if rgb is None and (operations := operations_on_rgb(recipe)):
        raise ValueError(
            f'MultiCrop: photometric has {operations}, which change red, green and blue, and this image has '
            f"{channels} channels without names. Set photometric='channels' for brightness, contrast and blur of every "
            'channel, or rgb_channels=(2, 1, 0) to say which three are red, green and blue.'
        )


def require_levels(image: Float32[np.ndarray, '...']) -> None:
    """Check that an image of floats has levels in [0, 255].

    Raises:
        ValueError: If it has others, NaN, other axes than ``rows columns channels``, or no pixels.
    """
    if image.ndim != 3 or image.size == 0:
        raise ValueError(f'expected an image "rows columns channels", got an array of shape {image.shape}')
    if not (image.min() >= 0 and image.max() <= WHITE):
        raise ValueError(
            f'expected levels in [0, 255], got {image.min():g} to {image.max():g}: dino_plugin.LoadChannels scales the '
            'numbers of a file to them'
        )


def require_image(image: Any) -> None:
    """Check that views can be cut out of this image: RGB in uint8, or levels of any channels in float32.

    Raises:
        TypeError: If it is no array of uint8 or float32.
        ValueError: If it has not three channels as uint8, or other levels than in [0, 255] as floats, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f'expected an RGB image as a uint8 array, or a Pillow image, got {type(image).__name__}')
    if image.dtype == np.float32:
        return require_levels(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'expected an RGB image "rows columns 3", got an array of shape {image.shape}: load it with '
            'dino_plugin.data.images.decoding.decode_image, or repeat the channel of a greyscale image three times; '
            'images of other channels come from dino_plugin.LoadChannels'
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f'expected levels in [0, 255] as uint8 (RGB) or float32 (any channels), got {image.dtype}: convert it'
        )
    if image.size == 0:
        raise ValueError(f'expected an image with pixels, got an array of shape {image.shape}')
