"""The plain formula of a view: Pillow, one operation after the other, with parameters that MultiCrop has drawn."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode, functional

from dino_plugin.data.views.crop_boxes import Box
from dino_plugin.data.views.photometric import ColourChange
from dino_plugin.data.views.rendering import ViewParameters

JITTER = dict(
    brightness=functional.adjust_brightness,
    contrast=functional.adjust_contrast,
    saturation=functional.adjust_saturation,
    hue=functional.adjust_hue,
)


def pillow_view(image: Image.Image, view: ViewParameters, size: tuple[int, int]) -> Image.Image:
    """Cut, resize, mirror, change the colours."""
    cut = pillow_resized(image, view.box, size)
    return pillow_colours(functional.hflip(cut) if view.flip else cut, view.colour)


def pillow_resized(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """Bicubic, as torchvision's RandomResizedCrop does it."""
    return functional.resized_crop(image, *box, list(size), InterpolationMode.BICUBIC)


def pillow_colours(image: Image.Image, change: ColourChange) -> Image.Image:
    """Jitter in its order, then greyscale, blur, solarisation."""
    for name, value in change.jitter:
        image = JITTER[name](image, value)
    if change.greyscale:
        image = functional.to_grayscale(image, num_output_channels=3)
    if change.blur_sigma:
        image = image.filter(ImageFilter.GaussianBlur(change.blur_sigma))
    return image if change.solarize_threshold is None else ImageOps.solarize(image, change.solarize_threshold)


def mean_error(
    image: UInt8[np.ndarray, 'rows columns 3'],
    drawn: Sequence[ViewParameters],
    views: Sequence[Float[np.ndarray, '_ _ 3'] | UInt8[np.ndarray, '_ _ 3']],
) -> list[float]:
    """Mean absolute difference of each view from Pillow's, in grey levels."""
    source = Image.fromarray(image)
    plain = (pillow_view(source, view, found.shape[:2]) for view, found in zip(drawn, views))
    return [float(np.abs(np.asarray(a, np.float32) - b).mean()) for a, b in zip(plain, views)]
