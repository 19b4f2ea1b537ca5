"""The colour operations of a view, in place on its pixels; photometric.py draws their parameters."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from dino_plugin.data.views.photometric import ColourChange, Number

LUMA = (0.299, 0.587, 0.114)
# Pillow truncates after brightness, contrast and saturation. OpenCV rounds, so half a level is subtracted first.
TRUNCATION = 0.5
HUE_STEPS = 256  # of the colour circle


class Affine(NamedTuple):
    """x -> scale * x + luma * L(x) + offset, with L(x) the luma of a pixel x.

    Brightness, contrast, saturation and greyscale have this form, and so has any sequence of them, since
    L(scale * x + luma * L(x) + offset) = (scale + luma) * L(x) + offset.
    """

    scale: Number = 1.0
    luma: Number = 0.0
    offset: Number = 0.0

    def then(self, name: str, factor: Number, mean_luma: Number) -> 'Affine':
        """This map and then one operation of the jitter; ``mean_luma`` is that of the pixels before this map."""
        scale, luma, offset = self
        if name == 'brightness':
            scale, luma, offset = factor * scale, factor * luma, factor * offset
        elif name == 'contrast':
            mean = math.floor((scale + luma) * mean_luma + offset + 0.5)  # Pillow blends with a whole grey level
            scale, luma, offset = factor * scale, factor * luma, factor * offset + (1 - factor) * mean
        elif name == 'saturation':
            scale, luma = factor * scale, factor * luma + (1 - factor) * (scale + luma)
        else:
            raise ValueError(f'unknown operation {name!r}: there are brightness, contrast, saturation and hue')
        return Affine(scale, luma, offset - TRUNCATION)

    def then_greyscale(self) -> 'Affine':
        """This map and then the luma in all three channels."""
        return Affine(0.0, self.scale + self.luma, self.offset)


IDENTITY = Affine()


def apply_colour_change(image: UInt8[np.ndarray, 'rows columns 3'], change: ColourChange) -> None:
    """Change the colours of an RGB view in place.

    Each operation alone, and the jitter as a whole, stays within one grey level (mean absolute error) of torchvision
    on Pillow images. Neighbouring operations are joined into one affine map, until pixels may leave [0, 255].

    Args:
        image: Contiguous and writable.
        change: As drawn by :meth:`Photometric.draw`.
    """
    pending = IDENTITY
    mean_luma = None  # of the image as it is, before the pending map
    for name, value in change.jitter:
        if name == 'hue' or pending.scale > 1:
            _apply_affine(image, pending)
            pending, mean_luma = IDENTITY, None
        if name == 'hue':
            shift_hue(image, value)
        else:
            if name == 'contrast' and mean_luma is None:
                mean_luma = sum(weight * mean for weight, mean in zip(LUMA, cv2.mean(image)))
            pending = pending.then(name, value, mean_luma or 0.0)
    if change.greyscale:
        if pending.scale > 1:
            _apply_affine(image, pending)
            pending = IDENTITY
        pending = pending.then_greyscale()
    _apply_affine(image, pending)
    blur(image, change.blur_sigma)
    if change.solarize_threshold is not None:
        solarize(image, change.solarize_threshold)


def _apply_affine(image: UInt8[np.ndarray, 'rows columns 3'], affine: Affine) -> None:
    if affine == IDENTITY:
        return
    scale, luma, offset = affine
    red, green, blue = (luma * weight for weight in LUMA)
    rows = [scale + red, green, blue, offset], [red, scale + green, blue, offset], [red, green, scale + blue, offset]
    cv2.transform(image, np.array(rows), dst=image)


def shift_hue(image: UInt8[np.ndarray, 'rows columns 3'], shift: Number) -> None:
    """Shift the hue by a share of the colour circle, in place and in whole steps; see :func:`hue_steps`."""
    steps = hue_steps(shift)
    if steps == 0:
        return
    cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL, dst=image)
    # Adding 0 to saturation and value, too, is four times faster than adding to one channel alone.
    pattern = np.zeros((image.shape[1], 3), np.uint8)
    pattern[:, 0] = steps % HUE_STEPS
    np.add(image, pattern, out=image)
    cv2.cvtColor(image, cv2.COLOR_HSV2RGB_FULL, dst=image)


def hue_steps(shift: Number) -> int:
    """A share of the colour circle in steps, ``HUE_STEPS`` for the whole; rounded towards zero, as in torchvision."""
    return int(shift * (HUE_STEPS - 1))


def blur(image: UInt8[np.ndarray, '_ _ 3'] | Float32[np.ndarray, '_ _ _'], sigma: Number) -> None:
    """Gaussian blur in place; beyond the border the outermost pixels are repeated.

    Args:
        image: Contiguous and writable.
        sigma: Standard deviation in pixels, the ``radius`` of Pillow's ``GaussianBlur``.
    """
    kernel = blur_kernel(sigma)
    if kernel.size > 1:
        cv2.sepFilter2D(image, -1, kernel, kernel, dst=image, borderType=cv2.BORDER_REPLICATE)


def blur_kernel(sigma: Number) -> Float[np.ndarray, ' taps']:
    """The weights of :func:`blur` in one direction: symmetric, an odd number, at most :func:`blur_taps`."""
    return _blur_kernel(round(sigma, 2))  # rounded, so that few kernels are computed


def blur_taps(sigma: Number) -> int:
    """The largest number of weights of a blur with this ``sigma`` or a smaller one."""
    return 6 * (_box_radius(round(sigma, 2)) + 1) + 1


def _box_radius(sigma: Number) -> int:
    """Radius in whole pixels of Pillow's box: the largest whose variance is at most ``sigma**2 / 3``."""
    return math.floor((math.sqrt(4 * sigma**2 + 1) - 1) / 2)


@functools.lru_cache(maxsize=1024)
def _blur_kernel(sigma: Number) -> Float[np.ndarray, ' taps']:
    """Pillow's Gaussian: a box of fractional width, convolved with itself three times, of variance sigma**2.

    Weights are multiples of 1/256 that sum to 1: OpenCV filters uint8 with weights of 8 bits, and other weights would
    lose brightness. Below sigma = 0.06 the centre has all the weight, so the blur does nothing.
    """
    variance = sigma**2 / 3
    radius = _box_radius(sigma)
    edge = (2 * radius + 1) * (radius * (radius + 1) - 3 * variance) / (6 * (variance - (radius + 1) ** 2))
    box = np.array([edge, *[1.0] * (2 * radius + 1), edge]) / (2 * radius + 1 + 2 * edge)
    weights = np.rint(256 * np.convolve(np.convolve(box, box), box))
    weights[weights.size // 2] += 256 - weights.sum()
    taps = np.flatnonzero(weights)
    return weights[taps[0] : taps[-1] + 1] / 256


def solarize(image: UInt8[np.ndarray, 'rows columns 3'], threshold: int) -> None:
    """Invert the levels at and above the threshold, in place."""
    levels = np.arange(256, dtype=np.uint8)
    cv2.LUT(image, np.where(levels < threshold, levels, 255 - levels), dst=image)
