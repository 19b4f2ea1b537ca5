"""Attention over an image: as heat, and as the patches that hold most of it."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps

from dino_plugin.data.views.resizing import resize
from dino_plugin.visualization.tiles import tile_sheet

_OUTLINE = (255, 200, 40)
_SLIDE = 16 / 9  # width divided by height


def heat_overlay(
    image: UInt8[np.ndarray, 'rows columns 3'],
    heat: Float[np.ndarray, 'map_rows map_columns'],
    smooth: bool = True,
    most: float | None = None,
) -> UInt8[np.ndarray, 'rows columns 3']:
    """The image in dark grey with a map glowing over it; the largest value glows most, 0 not at all.

    Args:
        image: RGB.
        heat: At least 0; it covers the whole image.
        smooth: Enlarge the map bicubically; otherwise each patch is a square.
        most: The value that glows most, the same for several images. None: the largest one.
    """
    heat = (heat / max(float(heat.max()) if most is None else most, 1e-30)).astype(np.float32)
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    heat = cv2.resize(heat, image.shape[1::-1], interpolation=method).clip(0, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2) * 0.55
    glow = colormaps['inferno'](heat)[..., :3] * 255
    share = heat[..., None] ** 0.5  # weak attention is seen, too
    return ((1 - share) * grey + share * glow).round().astype(np.uint8)


def spotlight(
    image: UInt8[np.ndarray, 'rows columns 3'], mask: Bool[np.ndarray, 'mask_rows mask_columns']
) -> UInt8[np.ndarray, 'rows columns 3']:
    """The image with its colours where the mask is true, outlined; the rest in dark grey.

    Args:
        image: RGB.
        mask: Of patches; it covers the whole image.
    """
    large = cv2.resize(mask.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * 0.35
    shown = np.where(large[..., None] > 0, image, grey.round()).astype(np.uint8)
    outlines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, outlines, -1, _OUTLINE, thickness=max(1, image.shape[0] // 160))
    return shown


def attention_sheet(
    image: UInt8[np.ndarray, 'rows columns 3'],
    maps: Float[np.ndarray, 'maps map_rows map_columns'],
    masks: Bool[np.ndarray, 'maps map_rows map_columns'],
    names: Sequence[str],
    height: int = 200,
    smooth: bool = True,
) -> UInt8[np.ndarray, 'sheet_rows sheet_columns 3']:
    """An image, and below the name of each map its heat and its mask; about as wide as a slide.

    Args:
        image: RGB.
        maps: Attention to each patch, such as the mean of the heads and each head.
        masks: Patches that hold most of each map.
        names: Of each map.
        height: Of each picture, in pixels.
        smooth: As in `heat_overlay`.
    """
    small = cv2.resize(
        image, (max(1, round(image.shape[1] * height / image.shape[0])), height), interpolation=cv2.INTER_AREA
    )
    tiles = [('image', small, np.full_like(small, 255))]
    for name, one, mask in zip(names, maps, masks):
        tiles.append((name, heat_overlay(small, one, smooth), spotlight(small, mask)))
    rows, columns = [], _columns_of_slide(len(tiles), small.shape[1] / (2 * small.shape[0]))
    for start in range(0, len(tiles), columns):
        band = tiles[start : start + columns]
        rows.append([(name, heat) for name, heat, _ in band])
        rows.append([('', mask) for _, _, mask in band])
    return tile_sheet(rows)


def heads_sheet(
    images: Sequence[UInt8[np.ndarray, '_ _ 3']], maps: Sequence[Float[np.ndarray, 'heads _ _']], width: int = 2000
) -> UInt8[np.ndarray, 'sheet_rows sheet_columns 3']:
    """A row for each image: the image, the heat of the mean of its heads, and of each head.

    Args:
        images: RGB, of any shapes.
        maps: Attention of each head to each patch, for each image.
        width: Of the sheet in pixels, about; pictures are 96 to 192 pixels high.
    """
    height = min(192, max(96, width // (len(maps[0]) + 2)))
    rows = []
    for image, heads in zip(images, maps):
        small = resize(image, height, max(1, round(image.shape[1] * height / image.shape[0])))
        titles = ['image', 'mean of heads', *(f'head {number}' for number in range(len(heads)))]
        heats = [heat_overlay(small, one) for one in (heads.mean(axis=0), *heads)]
        rows.append([('' if rows else title, tile) for title, tile in zip(titles, [small, *heats])])
    return tile_sheet(rows)


def _columns_of_slide(tiles: int, shape: float) -> int:
    """How many tiles of a shape (width divided by height) in a row give the shape of a slide."""

    def difference(columns: int) -> float:
        return abs(math.log(columns * shape / math.ceil(tiles / columns) / _SLIDE))

    return min(range(1, tiles + 1), key=difference)
