"""Pictures side by side, each below its title."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

WHITE, TITLE = 255, (40, 40, 40)


def tile_sheet(
    rows: Sequence[Sequence[tuple[str, UInt8[np.ndarray, '_ _ 3']]]], gap: int = 8
) -> UInt8[np.ndarray, 'sheet_rows sheet_columns 3']:
    """Rows of pictures on white, each below its title; an empty title takes no place if its row has no other.

    Args:
        rows: Title and RGB picture of each tile, from left to right.
        gap: Pixels between tiles.

    Raises:
        ValueError: If there is no picture.
    """
    if not rows or not all(len(tiles) for tiles in rows):
        raise ValueError('a sheet needs at least one row, and at least one picture in each.')
    text = max(13, max(tile.shape[0] for tiles in rows for _, tile in tiles) // 9)
    text = min(text, 28)
    strips = [_strip(tiles, gap, text) for tiles in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=WHITE) for one in strips]
    return np.concatenate(padded)


def _strip(tiles: Sequence[tuple[str, np.ndarray]], gap: int, text: int) -> UInt8[np.ndarray, '_ _ 3']:
    above = gap + text if any(title for title, _ in tiles) else 0
    height = above + max(tile.shape[0] for _, tile in tiles) + gap
    width = sum(tile.shape[1] + gap for _, tile in tiles) - gap
    sheet = Image.new('RGB', (width, height), (WHITE,) * 3)
    draw, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(text), 0
    for title, tile in tiles:
        draw.text((left, gap // 2), title, TITLE, font)
        sheet.paste(Image.fromarray(tile), (left, above))
        left += tile.shape[1] + gap
    return np.array(sheet)
