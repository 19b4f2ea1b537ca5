"""Bytes of images that no camera wrote: headers that claim a size, EXIF data, extra chunks."""

import io
import re
import struct
import zlib

import cv2
import numpy as np
import tifffile
from PIL import Image

LOSSLESS = {'WEBP': dict(lossless=True, exact=True)}
FORMATS = ('JPEG', 'PNG', 'WEBP', 'lossless WEBP', 'extended WEBP', 'GIF', 'BMP', 'TIFF', 'tiled TIFF', 'PPM', 'TGA',
           'ICO', 'JPEG2000', 'QOI', 'DDS', 'PCX', 'SGI', 'HDR', 'PAM')  # fmt: skip


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def claiming(kind: str, rows: int, columns: int) -> bytes:
    """A small image of one of `FORMATS` whose header claims another size. A WebP can claim 16,383 pixels a side."""
    if kind in ('HDR', 'PAM'):  # of OpenCV alone
        data = cv2.imencode(f'.{kind.lower()}', np.zeros((8, 16, 3), np.float32 if kind == 'HDR' else np.uint8))[1]
        for old, new in {'8': rows, '16': columns}.items():
            names = f'(-Y |HEIGHT ){old}\\b' if old == '8' else f'(\\+X |WIDTH ){old}\\b'
            data = re.sub(names.encode(), rb'\g<1>%d' % new, bytes(data))
        return bytes(data)
    data = bytearray(_small(kind))
    if kind == 'JPEG':
        place = data.index(b'\xff\xc0') + 5
        data[place : place + 4] = struct.pack('>HH', rows, columns)
    elif kind in ('PNG', 'ICO'):
        start = data.index(b'IHDR') + 4
        data[start : start + 8] = struct.pack('>II', columns, rows)
        data[start + 13 : start + 17] = struct.pack('>I', zlib.crc32(data[start - 4 : start + 13]))
    elif kind == 'WEBP':
        place = data.index(b'VP8 ') + 14
        data[place : place + 4] = struct.pack('<HH', columns, rows)
    elif kind == 'lossless WEBP':
        place = data.index(b'VP8L') + 9
        (bits,) = struct.unpack('<I', data[place : place + 4])
        data[place : place + 4] = struct.pack('<I', bits >> 28 << 28 | rows - 1 << 14 | columns - 1)
    elif kind == 'extended WEBP':
        place = data.index(b'VP8X') + 12
        data[place : place + 6] = (columns - 1).to_bytes(3, 'little') + (rows - 1).to_bytes(3, 'little')
    elif kind in ('TIFF', 'tiled TIFF'):
        _set_tiff_tags(data, {256: columns, 257: rows} if kind == 'TIFF' else {322: columns, 323: rows})
    else:
        sides = columns, rows
        layout = {
            'GIF': (6, '<HH', sides), 'BMP': (18, '<ii', sides), 'TGA': (12, '<HH', sides), 'QOI': (4, '>II', sides),
            'SGI': (6, '>HH', sides), 'PCX': (8, '<HH', (columns - 1, rows - 1)), 'DDS': (12, '<II', (rows, columns)),
            'JPEG2000': (data.find(b'ihdr') + 4, '>II', (rows, columns)),
        }  # fmt: skip
        if kind == 'PPM':
            return bytes(data).replace(b'16 8', b'%d %d' % (columns, rows))
        place, form, numbers = layout[kind]
        data[place : place + struct.calcsize(form)] = struct.pack(form, *numbers)
        if kind == 'JPEG2000':
            place = data.index(b'\xff\x51') + 6
            data[place : place + 8] = struct.pack('>II', columns, rows)
    return bytes(data)


def _small(kind: str) -> bytes:
    if kind == 'tiled TIFF':
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.zeros((8, 16, 3), np.uint8), tile=(16, 16), photometric='rgb')
        return buffer.getvalue()
    if kind == 'QOI':  # Pillow reads it since version 9.5 and writes it since 12
        return b'qoif' + struct.pack('>IIBB', 16, 8, 3, 0) + b'\xfe\xff\0\0' + b'\xfd' * 2 + b'\xc2' + bytes(7) + b'\1'
    options = {'lossless WEBP': dict(lossless=True), 'extended WEBP': dict(exif=exif_data(1))}.get(kind, {})
    size = (16, 16) if kind == 'ICO' else (16, 8)  # the smallest that every Pillow writes
    return encode(Image.new('RGB', size, 'red'), kind.split()[-1], **options)


def _set_tiff_tags(data: bytearray, values: dict[int, int]) -> None:
    """Little-endian, as Pillow writes it; a tag becomes one 32-bit number."""
    (start,) = struct.unpack_from('<I', data, 4)
    (number,) = struct.unpack_from('<H', data, start)
    for place in range(start + 2, start + 2 + 12 * number, 12):
        (tag,) = struct.unpack_from('<H', data, place)
        if tag in values:
            struct.pack_into('<HHII', data, place, tag, 4, 1, values[tag])


def exif_data(orientation: int, order: str = '<', kind: int = 3) -> bytes:
    """EXIF data with the orientation as a number of 16 (kind 3) or 32 bits (kind 4), without their prefix."""
    value = struct.pack(f'{order}HH', orientation, 0) if kind == 3 else struct.pack(f'{order}I', orientation)
    head = b'II*\0' if order == '<' else b'MM\0*'
    return head + struct.pack(f'{order}IHHHI', 8, 1, 0x0112, kind, 1) + value + bytes(4)


def with_segment(jpeg: bytes, content: bytes, marker: int = 0xE1) -> bytes:
    """The JPEG with one more segment behind its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack('>H', len(content) + 2) + content + jpeg[2:]


def with_chunk(png: bytes, name: bytes, content: bytes, last: bool = False) -> bytes:
    """The PNG with one more chunk behind its header, or before its end."""
    place = png.rindex(b'IEND') - 4 if last else 33
    chunk = struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
    return png[:place] + chunk + png[place:]
