"""Grey levels in two bytes: how views of images that are not ordinary RGB travel to the device.

Levels are in [0, 255] for every image, since colour recipes and normalisation count so. A byte would cut the 4,096 or
65,536 steps of a sensor down to 256. An int16 that counts in 128ths keeps 32,641 of them.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Shaped
from torch import Tensor

STEPS = 128  # of a grey level


def to_steps(levels: Float[np.ndarray, '*shape'] | Float[Tensor, '*shape']) -> Int16[Tensor, '*shape']:
    """Levels in [0, 255] to the nearest 128th."""
    return torch.as_tensor(levels).mul(STEPS).round_().to(torch.int16)


def to_levels(
    pixels: Shaped[Tensor, '*shape'], memory_format: torch.memory_format = torch.preserve_format
) -> Float32[Tensor, '*shape']:
    """Levels of pixels in whole levels (uint8) or in 128ths (int16)."""
    levels = pixels.to(torch.float32, memory_format=memory_format)
    return levels.mul_(1 / STEPS) if is_fine(pixels) else levels


def is_fine(pixels: Shaped[Tensor, '...']) -> bool:
    """Whether these pixels count in 128ths."""
    return pixels.dtype == torch.int16
