"""Pillow's images -> RGB, as `decode_image` gives it. Pillow itself cuts 16 bits at 255: nearly all is white."""

import os

import numpy as np
from PIL import Image

from dino_plugin.data.images.headers import UndecodableImageError

OR_CHANNELS = ', or, with other channels than RGB or more bits, load it by dino_plugin.LoadChannels (docs/channels.md)'


def as_rgb(image: Image.Image) -> Image.Image:
    """A new image of mode RGB: the high byte of 16 bits, ``value >> 8``, and Pillow's conversion of all else.

    Raises:
        UndecodableImageError: If it has 32 bits, whose range is not known.
    """
    if image.mode.startswith('I;16'):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert('RGB')
    if image.mode in ('I', 'F'):
        raise UndecodableImageError(f'32-bit samples have no known range: convert to 8 bits{OR_CHANNELS}')
    return image.convert('RGB')


def load_as_rgb(path: str | os.PathLike) -> Image.Image:
    """A loader for torchvision's and Lightly's folders of images; errors as `as_rgb`, and Pillow's."""
    with Image.open(path) as image:
        return as_rgb(image)
