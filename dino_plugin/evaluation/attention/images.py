"""Images and a network -> attention: the only file of this room that knows a network."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dino_plugin.backbones.attention_maps import BlockAttention, attention_of, number_of_blocks
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.attention.heads import attended_distance
from dino_plugin.evaluation.features.extraction import network_size

_LONGEST = 4  # longer side, in shorter sides that were asked for: attention takes memory for its square


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
        short_side: Shorter side in pixels of what the network sees. It is less where the longer side would be more than
            four times as long.
        preprocessor: Batch -> `dict(images=...)` on the device. Default: ImageNet's mean and deviation.
        autocast_dtype: Run the network in this precision, such as `torch.bfloat16`.

    Raises:
        ValueError: If the network has no such attention or block, or no patch fits into the shorter side.
    """
    device = next(backbone.parameters()).device
    preprocessor = preprocessor or ViewPreprocessor().to(device)
    pixels = torch.from_numpy(resize(image, *_whole_patches(backbone, image.shape[:2], short_side)))
    prepared = preprocessor((pixels[None], torch.zeros(1), None))['images']
    with torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
        return attention_of(backbone, prepared, blocks)


def _whole_patches(backbone: nn.Module, size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Rows and columns in pixels of what the network sees."""
    if max(size) > _LONGEST * min(size):
        short_side = int(_LONGEST * short_side * min(size) / max(size))
        if backbone.patch_size is not None and short_side < max(backbone.patch_size):
            raise ValueError(
                f'an image of {size[0]} x {size[1]} pixels (rows x columns) is too long: its shorter side would be '
                f'less than one patch of {backbone.patch_size} pixels. Cut it into pieces, or give a larger short_side.'
            )
    return network_size(backbone, size, short_side, multiple=1)


class HeadsOfImage(NamedTuple):
    """The heads of some blocks in one image, one block after the other.

    Args:
        names: `block.head`.
        maps: Attention of the class token to each patch, float32.
        attended_distances: As in `attended_distance`, if they were asked for.
    """

    names: list[str]
    maps: Float[Tensor, 'heads rows columns']
    attended_distances: Float[Tensor, ' heads'] | None


@torch.no_grad()
def heads_of_image(
    backbone: nn.Module,
    image: UInt8[np.ndarray, 'rows columns 3'],
    blocks: Sequence[int] | None = None,
    short_side: int = 480,
    attended_distances: bool = False,
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> HeadsOfImage:
    """The attention of the class token in an image, for all heads of some blocks.

    Args:
        backbone: As in `attention_of_image`, like the other arguments.
        blocks: As there; None: all.
        attended_distances: Compute them, which needs the attention of all patches.

    Raises:
        ValueError: As `attention_of_image`.
    """
    number = number_of_blocks(backbone)
    places = range(number) if blocks is None else blocks
    found = attention_of_image(backbone, image, places, short_side, preprocessor, autocast_dtype)
    maps = [block.class_maps()[0] for block in found]
    return HeadsOfImage(
        [f'{place % number}.{head}' for place, one in zip(places, maps) for head in range(len(one))],
        torch.cat(maps),
        torch.cat([attended_distance(block)[0] for block in found]) if attended_distances else None,
    )
