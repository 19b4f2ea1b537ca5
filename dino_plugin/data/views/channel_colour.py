"""The colour operations on images of any number of channels: in a worker in place, and on a device for many views.

- Brightness, contrast and blur: every channel. Contrast is to the mean of the channel, not of the luma.
- Saturation, hue, greyscale and solarisation: the three channels that are red, green and blue alone.

Levels are floats in [0, 255] and stay so: after each operation of the jitter they are cut to this range, as those of
ordinary RGB images are in colour.py and device_colour.py. Nothing is rounded.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dino_plugin.data.views import device_colour
from dino_plugin.data.views.colour import HUE_STEPS, LUMA, blur, hue_steps
from dino_plugin.data.views.photometric import ColourChange, Number, Recipe
from dino_plugin.data.views.unfinished_views import GREYSCALE, HUE, KERNEL, MAX_BLENDS, NO_BLEND, THRESHOLD, Rgb

Levels = Float32[np.ndarray, 'rows columns channels']
DeviceLevels = Float32[Tensor, 'views channels rows columns']
Triple = Float32[Tensor, 'views 3 rows columns']
WHITE = 255


def operations_on_rgb(recipe: Recipe) -> str:
    """The operations in this recipe that only red, green and blue have, with commas between; empty without one."""
    used = dict(
        saturation=any(view.jitter_probability and view.saturation for view in recipe),
        hue=any(view.jitter_probability and view.hue for view in recipe),
        greyscale=any(view.greyscale_probability for view in recipe),
        solarisation=any(view.solarize_probability for view in recipe),
    )
    return ', '.join(name for name, is_used in used.items() if is_used)


def apply_channel_change(image: Levels, change: ColourChange, rgb: Rgb | None) -> None:
    """Change the colours of one view in place.

    Args:
        image: Contiguous and writable.
        change: As drawn by :meth:`Photometric.draw`.
        rgb: The places of red, green and blue; None where there are none, and the change needs none.
    """
    for name, value in change.jitter:
        if name == 'brightness':
            image *= np.float32(value)
        elif name == 'contrast':
            mean = image.mean((0, 1))
            image *= np.float32(value)
            image += (1 - value) * mean
        else:
            triple = np.ascontiguousarray(image[..., rgb])
            image[..., rgb] = _saturated(triple, value) if name == 'saturation' else _turned(triple, value)
        np.clip(image, 0, WHITE, out=image)
    if change.greyscale:
        image[..., rgb] = _luma(image[..., rgb])
    blur(image, change.blur_sigma)
    if change.solarize_threshold is not None:
        triple = image[..., rgb]
        image[..., rgb] = np.where(triple < change.solarize_threshold, triple, WHITE - triple)


def _luma(triple: Float32[np.ndarray, 'rows columns 3']) -> Float32[np.ndarray, 'rows columns 1']:
    return triple @ np.array(LUMA, np.float32)[:, None]


def _saturated(triple: Float32[np.ndarray, 'rows columns 3'], factor: Number) -> Float32[np.ndarray, 'rows columns 3']:
    return np.float32(factor) * triple + np.float32(1 - factor) * _luma(triple)


def _turned(triple: Float32[np.ndarray, 'rows columns 3'], shift: Number) -> Float32[np.ndarray, 'rows columns 3']:
    hsv = cv2.cvtColor(triple, cv2.COLOR_RGB2HSV)  # hue in degrees
    hsv[..., 0] = (hsv[..., 0] + 360 * hue_steps(shift) / HUE_STEPS) % 360
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def change_channels(levels: DeviceLevels, colours: Float32[Tensor, 'views numbers'], rgb: Rgb | None) -> DeviceLevels:
    """What :func:`apply_channel_change` does, for many views at once, each with its own row of parameters.

    No branch depends on a pixel or a parameter, so the host never waits for the device. The views are not written to.

    Args:
        levels: In [0, 255].
        colours: Rows as :func:`~dino_plugin.data.views.unfinished_views.colour_row` makes them.
        rgb: As in :func:`apply_channel_change`.
    """
    columns = colours[:, :, None, None, None].unbind(1)  # each 'views 1 1 1'
    for slot in range(2 * MAX_BLENDS):
        if slot == MAX_BLENDS and rgb is not None:
            _put(levels, rgb, device_colour.shift_hue(_triple(levels, rgb), columns[HUE], whole=False))
        first = slot * len(NO_BLEND)
        levels = _blended(levels, colours[:, first : first + len(NO_BLEND)], rgb)
    if rgb is not None:
        triple = _triple(levels, rgb)
        _put(levels, rgb, torch.lerp(triple, _device_luma(triple).expand_as(triple), columns[GREYSCALE]))
    levels = device_colour.blur(levels, colours[:, KERNEL:], whole=False)
    if rgb is not None:
        triple = _triple(levels, rgb)
        _put(levels, rgb, torch.where(triple < columns[THRESHOLD], triple, WHITE - triple))
    return levels


def _blended(levels: DeviceLevels, shares: Float32[Tensor, 'views 3'], rgb: Rgb | None) -> DeviceLevels:
    """x -> factor x + (1 - factor) (of_mean mean(x) + of_luma L(x)), the last term for red, green and blue alone.

    The result is a new tensor, whatever the parameters.
    """
    factor, of_mean, of_luma = shares[:, :, None, None, None].unbind(1)
    grey = of_mean * levels.mean(dim=(-2, -1), keepdim=True)
    changed = torch.lerp(grey.expand_as(levels), levels, factor + (1 - factor) * of_luma)
    if rgb is not None:
        triple = _triple(levels, rgb)
        _put(changed, rgb, torch.lerp(_triple(grey, rgb) + of_luma * _device_luma(triple), triple, factor))
    return changed.clamp_(0, WHITE)


def _device_luma(triple: Triple) -> Float32[Tensor, 'views 1 rows columns']:
    red, green, blue = triple.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


# One channel at a time: a tuple as an index would be copied to the device, for which the host waits.
def _triple(levels: DeviceLevels, rgb: Rgb) -> Triple:
    return torch.stack([levels[:, place] for place in rgb], dim=1)


def _put(levels: DeviceLevels, rgb: Rgb, triple: Triple) -> None:
    for place, plane in zip(rgb, triple.unbind(1)):
        levels[:, place] = plane
