"""Images and a network -> attention: the only file of this room that knows a network."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from dino_plugin.backbones.attention_maps import BlockAttention, attention_of
from dino_plugin.data.multi_crop import resize
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.evaluation.features import network_size


def attention_of_image(
    backbone: nn.Module,
    image: UInt8[np.ndarray, 'rows columns 3'],
    blocks: Sequence[int] = (-1,),
    short_side: int = 480,
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> list[BlockAttention]:
    """The attention of some blocks in a whole image, resized to whole patches; a batch of one.

    Args:
        backbone: As in `attention_of`, on its device.
        image: RGB, of any size and proportions.
        blocks: As in `attention_of`.
        short_side: Shorter side in pixels of what the network sees.
        preprocessor: Batch -> `dict(images=...)` on the device. Default: ImageNet's mean and deviation.
        autocast_dtype: Run the network in this precision, such as `torch.bfloat16`.

    Raises:
        ValueError: If the network has no such attention or block, or no patch fits into the shorter side.
    """
    device = next(backbone.parameters()).device
    preprocessor = preprocessor or ViewPreprocessor().to(device)
    pixels = torch.from_numpy(resize(image, *network_size(backbone, image.shape[:2], short_side, multiple=1)))
    prepared = preprocessor((pixels[None], torch.zeros(1), None))['images']
    with torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
        return attention_of(backbone, prepared, blocks)
