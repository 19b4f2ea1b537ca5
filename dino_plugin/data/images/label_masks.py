"""Object masks as indexed PNG, in DAVIS's colours."""

import os
from contextlib import suppress

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dino_plugin.data.images.decoding import check_header
from dino_plugin.data.images.headers import MAX_PIXELS, UnknownFormatError, open_with_pillow

MODES = ('P', 'L', '1')  # palette index, grey level, black and white: one number for each pixel


def davis_palette() -> UInt8[np.ndarray, '256 3']:
    """The colour of each label, as in PASCAL VOC and DAVIS.

    colour[c] = sum_n bit_{3 n + c}(label) * 2^(7 - n)   for the channels c = 0, 1, 2

    Neighbouring labels therefore get very different colours: 1 dark red, 2 dark green, 3 dark yellow, 4 dark blue.
    """
    labels = np.arange(256)[:, None]
    channels = np.arange(3)
    return sum((labels >> (3 * n + channels) & 1) << (7 - n) for n in range(8)).astype(np.uint8)


def read_mask(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, 'rows columns']:
    """The label of each pixel, as stored in the file: the index of the palette or the grey level.

    Pillow decodes it, as in mmsegmentation and DAVIS's evaluator, and no EXIF orientation is applied.

    Args:
        path: The file.
        max_pixels: As in :func:`~dino_plugin.data.images.decoding.decode_image`.

    Raises:
        ValueError: If the file has colours instead of labels, or cannot be read.
    """
    with suppress(UnknownFormatError, FileNotFoundError):  # reported below
        check_header(path, max_pixels)
    try:
        with open(path, 'rb') as file, open_with_pillow(file, max_pixels) as image:
            mode, mask = image.mode, np.array(image) if image.mode in MODES else None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error …
        raise ValueError(f'{path} cannot be read as an image: {error}. Copy or export it again.') from error
    if mask is None:
        raise ValueError(
            f'{path} has colours (mode {mode}) instead of labels. A mask needs one number for each pixel, 0 for the '
            'background and 1, 2, 3 … for the objects: save it as PNG with a palette (mode P) or in grey (mode L).'
        )
    return mask.astype(np.uint8)


def labels_in(mask: UInt8[np.ndarray, 'rows columns']) -> list[int]:
    """The labels that occur in a mask, smallest first."""
    return np.flatnonzero(np.bincount(mask.ravel())).tolist()


def write_mask(mask: UInt8[np.ndarray, 'rows columns'], path: str | os.PathLike) -> None:
    """Write an indexed PNG with DAVIS's palette; the folder must exist."""
    image = Image.fromarray(mask)
    image.putpalette(davis_palette().tobytes())
    image.save(path, format='PNG')


def resize_mask(
    mask: UInt8[np.ndarray, 'rows_before columns_before'], rows: int, columns: int
) -> UInt8[np.ndarray, '{rows} {columns}']:
    """The label under the centre of each new pixel (Pillow's nearest neighbour, as in DINO's evaluation)."""
    return np.array(Image.fromarray(mask).resize((columns, rows), Image.Resampling.NEAREST))
