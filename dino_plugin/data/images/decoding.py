"""Image files -> RGB uint8 pixels, or an error that says what is wrong with the file."""

import io
import os
import warnings

import cv2
import numpy as np
from jaxtyping import UInt8
from mmengine import fileio
from PIL import Image, ImageOps

TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class UndecodableImageError(ValueError):
    """The bytes are not a whole image; the message says what is wrong with them."""


def read_image(path: str | os.PathLike, backend_args: dict | None = None) -> UInt8[np.ndarray, 'rows columns 3']:
    """The RGB pixels of an image file, as :func:`decode_image` gives them.

    Args:
        path: The file.
        backend_args: For ``mmengine.fileio``, where the file is not on a local disk.

    Raises:
        UndecodableImageError: As in :func:`decode_image`; the message names the file.
    """
    try:
        return decode_image(fileio.get(path, backend_args=backend_args))
    except UndecodableImageError as error:
        raise UndecodableImageError(f'{path}: {error}') from error


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Rows and columns of an image file, read from its header.

    Raises:
        ValueError: If the file is not an image; the message names it.
    """
    try:
        with Image.open(path) as file:
            return file.size[::-1]
    except Exception as error:  # Pillow raises errors of many kinds
        raise ValueError(f'{path} is not an image that can be read: {error}. Copy it again.') from error


def decode_image(data: bytes) -> UInt8[np.ndarray, 'rows columns 3']:
    """Decode the bytes of an image file to RGB.

    OpenCV decodes most files. Pillow decodes TIFF, whose alpha OpenCV multiplies into the colours, and what OpenCV
    refuses. The content decides, not the file name, and any format that one of the two knows is accepted. What becomes
    of each kind of image:

    - Greyscale, 1 bit, 2 bits, 4 bits: three equal channels over the full range, black 0 and white 255.
    - Palette: the colours of the palette. A palette entry's transparency is dropped.
    - Alpha (RGBA, grey with alpha, a transparent colour): dropped. The stored colours stay, those of fully
      transparent pixels too; nothing is blended with a background.
    - CMYK and YCCK JPEG: R = (255 - C)(255 - K) / 255 and so on, within one grey level; no colour profile is applied.
    - 16 bits a channel (PNG, TIFF; grey or colour): the high byte, ``value >> 8``. A 12-bit camera image stored in
      16 bits therefore arrives dark.
    - EXIF or TIFF orientation: applied, so rows and columns are those of the upright picture.
    - Several frames (animated WebP, GIF, multi-page TIFF): the first.
    - 32-bit integer or float TIFF: refused, since its range is not known.

    A file that ends too early is refused, although decoders may fill the missing half with grey. Bytes after the end of
    an image are ignored. Damage in the middle of compressed data may look like an unusual picture: where the decoder
    reports no error, its pixels are returned.

    Args:
        data: The whole file.

    Returns:
        A new, writable, contiguous array.

    Raises:
        UndecodableImageError: If the data are empty, truncated, no image, or an image of a kind that is refused above.
    """
    refuse_incomplete(data)
    image = None if data.startswith(TIFF_SIGNATURES) else _decode_with_opencv(data)
    return _decode_with_pillow(data) if image is None else image


def refuse_incomplete(data: bytes) -> None:
    """Raise if the bytes cannot be a whole file; a few of them are enough to see that."""
    if not data:
        raise UndecodableImageError('the file is empty (0 bytes)')
    head = data[:256].lstrip().lower()
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise UndecodableImageError('the file is an HTML or XML page, not an image (a failed download?)')
    if head.startswith(b'version https://git-lfs'):
        raise UndecodableImageError('the file is a Git LFS pointer, not an image (run `git lfs pull`)')
    if data.startswith(b'\xff\xd8'):
        complete = _has_jpeg_end(data)
    elif data.startswith(b'\x89PNG'):
        complete = data.rfind(b'IEND') > 0
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        complete = len(data) >= 8 + int.from_bytes(data[4:8], 'little')
    else:
        complete = True  # the decoders themselves notice where other formats end too early
    if not complete:
        raise UndecodableImageError(f'the file is truncated: its {len(data)} bytes stop before the end of the image')


def _has_jpeg_end(data: bytes) -> bool:
    """Whether an end-of-image marker follows the start of the scan.

    The headers are skipped: a thumbnail in them is a whole JPEG with its own end marker. Inside the scan the two bytes
    cannot occur, since JPEG escapes them.
    """
    position = 2
    while data[position : position + 1] == b'\xff' and data[position + 1 : position + 2] != b'\xda':
        if data[position + 1 : position + 2] == b'\xff':  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    return data.rfind(b'\xff\xd9', position) >= 0


def _decode_with_opencv(data: bytes) -> UInt8[np.ndarray, 'rows columns 3'] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # raised instead of None when the header promises too many pixels
        return None


def _decode_with_pillow(data: bytes) -> UInt8[np.ndarray, 'rows columns 3']:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about metadata; what matters is raised
            with Image.open(io.BytesIO(data)) as file:
                image = ImageOps.exif_transpose(file)
                if image.mode.startswith('I;16'):
                    high_byte = (np.asarray(image) >> 8).astype(np.uint8)
                    return np.repeat(high_byte[..., None], 3, axis=2)
                if image.mode in ('I', 'F'):
                    raise UndecodableImageError('32-bit samples have no known range: convert the image to 8 bits')
                return np.array(image.convert('RGB'))
    except (UndecodableImageError, MemoryError):
        raise
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, zlib.error, EOFError …
        raise UndecodableImageError(f'no decoder can read it: {error} (first bytes: {data[:8]!r})') from error
