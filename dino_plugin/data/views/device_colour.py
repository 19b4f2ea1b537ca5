"""What colour.py does, for many views at once on a device, each with its own parameters.

No branch depends on a pixel or a parameter, so the host never waits for the device.
"""

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import conv2d, pad

from dino_plugin.data.views.colour import HUE_STEPS, LUMA
from dino_plugin.data.views.unfinished_views import GREYSCALE, HUE, KERNEL, MAX_BLENDS, NO_BLEND, THRESHOLD

Levels = Float32[Tensor, 'views 3 rows columns']
WHITE = 255
SMALLEST_CHROMA = 1e-6  # of levels; what is divided by it is 0 where no channel differs


def change_colours(levels: Levels, colours: Float32[Tensor, 'views numbers'], compiled: bool = False) -> Levels:
    """Change the colours of RGB views: jitter, greyscale, blur, solarisation, in whole grey levels in [0, 255].

    Each operation rounds as Pillow does. Within one grey level (mean absolute error) of
    :func:`~dino_plugin.data.views.colour.apply_colour_change` and of Pillow. The views are not written to.

    Args:
        levels: In [0, 255].
        colours: Rows as :func:`~dino_plugin.data.views.unfinished_views.colour_row` makes them.
        compiled: Compile blends and hue by ``torch.compile``, each to a graph of its own: 1.5 to 1.7 times as fast on a
            CPU, where one graph for everything was slower than none.
    """
    blended, shifted = (_compiled(operation) if compiled else operation for operation in (blend, shift_hue))
    columns = colours[:, :, None, None, None].unbind(1)  # each 'views 1 1 1'
    levels = levels.data  # not a part of a larger tensor, for which PyTorch would compile again
    for slot in range(2 * MAX_BLENDS):
        if slot == MAX_BLENDS:
            levels = shifted(levels, columns[HUE].clone())
        first = slot * len(NO_BLEND)
        levels = blended(levels, colours[:, first : first + len(NO_BLEND)].clone())
    levels = torch.lerp(levels, luma(levels), columns[GREYSCALE])
    levels = blur(levels, colours[:, KERNEL:])
    return torch.where(levels < columns[THRESHOLD], levels, WHITE - levels)


def luma(levels: Levels) -> Float32[Tensor, 'views 1 rows columns']:
    """The whole grey level of each pixel."""
    red, green, blue = levels.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).round_()


def blend(levels: Levels, shares: Float32[Tensor, 'views 3']) -> Levels:
    """Brightness, contrast or saturation: x -> factor x + (1 - factor) (of_mean mean(L) + of_luma L(x)).

    The result is truncated to a whole level, and the mean luma rounded to one, as Pillow does.

    Args:
        levels: In [0, 255].
        shares: factor, of_mean and of_luma of each view.
    """
    factor, of_mean, of_luma = shares[:, :, None, None, None].unbind(1)
    grey = luma(levels)
    mean = grey.mean(dim=(-2, -1), keepdim=True).add_(0.5).floor_()
    return torch.lerp(torch.addcmul(of_mean * mean, of_luma, grey), levels, factor).clamp_(0, WHITE).floor_()


def shift_hue(levels: Levels, steps: Float32[Tensor, 'views 1 1 1'], whole: bool = True) -> Levels:
    """Shift the hue, to whole levels if ``whole``, without rounding hue and saturation in between.

    With the largest level M, the smallest m and C = M - m, a channel is M - C clamp(min(k, 4 - k), 0, 1), where
    k = (n + hue) mod 6, the hue is in sixths of the circle, and n = 5, 3, 1 for red, green and blue.
    """
    red, green, blue = levels.unbind(1)
    most, least = levels.amax(dim=1), levels.amin(dim=1)
    chroma = most - least
    by_red, by_green = most == red, most == green
    difference = torch.where(by_red, green - blue, torch.where(by_green, blue - red, red - green))
    sector = torch.where(by_red, 0.0, torch.where(by_green, 2.0, 4.0))
    hue = (sector + difference / chroma.clamp(min=SMALLEST_CHROMA))[:, None] + steps * (6 / HUE_STEPS)
    place = torch.cat([hue + number for number in (5, 3, 1)], dim=1).remainder_(6)
    turned = most[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)
    return torch.where(steps == 0, levels, turned.round_() if whole else turned)


def blur(
    levels: Float32[Tensor, 'views channels rows columns'], kernels: Float32[Tensor, 'views taps'], whole: bool = True
) -> Float32[Tensor, 'views channels rows columns']:
    """Blur each view in both directions with its own symmetric kernel, to whole levels if ``whole``.

    Beyond the border its pixels are repeated.
    """
    num_views, channels, *_ = levels.shape
    taps = kernels.shape[1]
    if taps == 1:
        return levels
    weights = kernels.repeat_interleave(channels, dim=0)[:, None]
    stacked = pad(levels, [taps // 2] * 4, mode='replicate').flatten(0, 1)[None]
    for direction in (weights[:, :, :, None], weights[:, :, None, :]):
        stacked = conv2d(stacked, direction, groups=num_views * channels)
    blurred = stacked[0].unflatten(0, (num_views, channels))
    return blurred.round_() if whole else blurred


@functools.cache
def _compiled(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(operation, dynamic=True)  # one graph for views of all sizes
