"""Numbers come out of files of many channels as they went in; what cannot be read is refused, with the file's name."""

import io
import math
import os
import struct
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import tifffile
from channel_images import FRAMES, five_channels
from PIL import Image, ImageOps

from dino_plugin.data.images import channel_files
from dino_plugin.data.images.channel_files import read_channels
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.images.headers import UndecodableImageError

IMAGE = five_channels(FRAMES[0], 30, 40)
FIRST = np.moveaxis(IMAGE, -1, 0)
TYPES = ['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'float16', 'float32', 'float64']


def write_pages(path, pages, **options):
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, photometric='minisblack', metadata=None, **options)


def write_packbits(path, pages):
    first, *others = map(Image.fromarray, pages)
    first.save(path, 'TIFF', compression='packbits', save_all=True, append_images=others)


WAYS = {
    'samples of a pixel': lambda path: tifffile.imwrite(path, IMAGE, photometric='minisblack', planarconfig='contig'),
    'RGB and two more': lambda path: tifffile.imwrite(path, IMAGE, photometric='rgb', extrasamples=[0, 0]),
    'planes': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack', planarconfig='separate'),
    'pages': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack'),
    'pages without a description': lambda path: write_pages(path, FIRST),
    'ImageJ': lambda path: tifffile.imwrite(path, FIRST, imagej=True, metadata=dict(axes='CYX')),
    'OME': lambda path: tifffile.imwrite(path, FIRST, ome=True, photometric='minisblack', metadata=dict(axes='CYX')),
    'big-endian': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack', byteorder='>'),
    'BigTIFF': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack', bigtiff=True),
    'tiles': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack', tile=(16, 32)),
    'Deflate': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack', compression='zlib'),
    'PackBits': lambda path: write_packbits(path, FIRST),
    'LZMA': lambda path: tifffile.imwrite(path, FIRST, photometric='minisblack', compression='lzma'),
}


@pytest.mark.parametrize('way', WAYS)
def test_tiff_of_every_layout_gives_the_numbers_that_were_written(way, tmp_path):
    WAYS[way](tmp_path / 'image.tif')
    found = read_channels(tmp_path / 'image.tif', 5)
    assert found.dtype.newbyteorder('=') == np.uint16
    assert np.array_equal(found, IMAGE)


@pytest.mark.parametrize('kind', TYPES)
@pytest.mark.parametrize('channels', [1, 2, 4, 13])
def test_every_type_and_number_of_channels_is_read_from_tiff_and_npy(kind, channels, tmp_path):
    image = (np.arange(12 * 20 * channels).reshape(12, 20, channels) % 120).astype(kind)
    np.save(tmp_path / 'last.npy', image)
    np.save(tmp_path / 'first.npy', np.moveaxis(image, -1, 0))
    np.save(tmp_path / 'fortran.npy', np.asfortranarray(image))
    tifffile.imwrite(tmp_path / 'image.tif', np.moveaxis(image, -1, 0), photometric='minisblack')
    for path in tmp_path.iterdir():
        found = read_channels(path, channels)
        assert found.dtype == kind
        assert np.array_equal(found, image), path


def test_a_plane_without_an_axis_of_channels_has_one_channel(tmp_path):
    np.save(tmp_path / 'plane.npy', IMAGE[..., 0])
    tifffile.imwrite(tmp_path / 'plane.tif', IMAGE[..., 0])
    cv2.imwrite(str(tmp_path / 'plane.png'), IMAGE[..., 0])
    for path in tmp_path.iterdir():
        assert np.array_equal(read_channels(path, 1), IMAGE[..., :1])
        with pytest.raises(ValueError, match=rf'{path.name}: .*expected 5 channels'):
            read_channels(path, 5)


def test_png_keeps_its_sixteen_bits_and_its_colours_are_in_rgb_order(tmp_path):
    cv2.imwrite(str(tmp_path / 'image.png'), IMAGE[..., 2::-1])
    assert np.array_equal(read_channels(tmp_path / 'image.png', 3), IMAGE[..., :3])
    assert np.array_equal(read_channels(FRAMES[0], 3), cv2.cvtColor(cv2.imread(str(FRAMES[0])), cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_orientation_is_that_of_pillow(orientation, tmp_path):
    options = dict(extratags=[(274, 3, 1, orientation, True)])
    grey = (IMAGE[..., 0] >> 4).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'grey.tif', grey, photometric='minisblack', **options)
    data = io.BytesIO(
        (tmp_path / 'grey.tif').read_bytes()
    )  # from a path Pillow 13 maps the pixels, and turns them wrong
    expected = np.asarray(ImageOps.exif_transpose(Image.open(data)))
    assert np.array_equal(read_channels(tmp_path / 'grey.tif', 1)[..., 0], expected)
    tifffile.imwrite(tmp_path / 'pages.tif', np.stack([grey, 255 - grey]), photometric='minisblack', **options)
    assert np.array_equal(read_channels(tmp_path / 'pages.tif', 2), np.stack([expected, 255 - expected], axis=2))


def test_black_is_zero_also_where_the_file_has_white_as_zero(tmp_path):
    grey = (IMAGE[..., 0] >> 4).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'inverted.tif', 255 - grey, photometric='miniswhite')
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'inverted.tif').convert('L')), grey)
    assert np.array_equal(read_channels(tmp_path / 'inverted.tif', 1)[..., 0], grey)


def test_an_overview_is_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'pyramid.tif') as file:
        file.write(IMAGE, photometric='minisblack', planarconfig='contig', subifds=1)
        file.write(IMAGE[::2, ::2], photometric='minisblack', planarconfig='contig', subfiletype=1)
    assert np.array_equal(read_channels(tmp_path / 'pyramid.tif', 5), IMAGE)


def test_overviews_and_masks_beside_the_image_are_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'cloud.tif') as file:
        options = dict(photometric='minisblack', metadata=None)
        file.write(IMAGE, planarconfig='contig', **options)
        file.write(255 * (IMAGE[..., 0] > 900).astype(np.uint8), subfiletype=1, **options)
        file.write(IMAGE[::2, ::2], planarconfig='contig', subfiletype=1, **options)
        file.write(np.zeros((7, 8, 3), np.uint8), photometric='rgb', metadata=None)
    with pytest.raises(UndecodableImageError, match='pages of two kinds'):
        read_channels(tmp_path / 'cloud.tif', 5)
    with tifffile.TiffFile(tmp_path / 'cloud.tif', mode='r+') as file:
        file.pages[1].tags['NewSubfileType'].overwrite(4)  # a mask, which tifffile does not write
    assert np.array_equal(read_channels(tmp_path / 'cloud.tif', 5), IMAGE)


def test_the_axis_of_the_channels_is_never_guessed(tmp_path):
    square = IMAGE[:5, :, :]
    np.save(tmp_path / 'ambiguous.npy', square)
    with pytest.raises(ValueError, match=r'ambiguous\.npy: .*two axes fit 5 channels. Set channel_axis'):
        read_channels(tmp_path / 'ambiguous.npy', 5)
    assert np.array_equal(read_channels(tmp_path / 'ambiguous.npy', 5, -1), square)
    assert np.array_equal(read_channels(tmp_path / 'ambiguous.npy', 5, 0), np.moveaxis(square, 0, -1))
    np.save(tmp_path / 'last.npy', IMAGE)
    with pytest.raises(ValueError, match=r'expected 5 channels on axis 0'):
        read_channels(tmp_path / 'last.npy', 5, 0)
    np.save(tmp_path / 'times.npy', IMAGE[None])
    with pytest.raises(ValueError, match='each plane or time as a file of its own'):
        read_channels(tmp_path / 'times.npy', 5)


def npy_claiming(shape, dtype='<u2') -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, dict(descr=dtype, fortran_order=False, shape=shape))
    return stream.getvalue() + bytes(1000)


class Printing:
    """What a hostile file would run."""

    def __reduce__(self):
        return print, ('this must not be run',)


def npy_of_objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([[Printing()]], dtype=object), allow_pickle=True)
    return stream.getvalue()


def tiff_of(*arrays, **options) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        for array in arrays:
            file.write(array, metadata=None, **options)
    return stream.getvalue()


HOSTILE = {
    'empty': (b'', 'empty'),
    'text': (b'no image at all', 'no decoder can read it'),
    'objects': (npy_of_objects(), 'could run code'),
    'too short': (npy_claiming((30, 40, 5)), 'truncated'),
    'terabytes': (npy_claiming((2**22, 2**22, 5)), 'claims 87,960,930,222,080 numbers'),
    'a negative side': (npy_claiming((-1, 4, 5)), 'truncated'),
    'no side': (npy_claiming((0, 4, 5)), 'no pixels'),
    'words': (npy_claiming((3, 4, 5), '<U2'), 'expected whole numbers or floats'),
    'complex': (npy_claiming((3, 4, 5), '<c8'), 'expected whole numbers or floats'),
    'a damaged header': (b'\x93NUMPY\x01\x00\x76\x00{"descr": __import__("os")}', r'damaged \.npy'),
    'a palette': (
        tiff_of(np.zeros((8, 8), np.uint8), photometric='palette', colormap=np.zeros((3, 256), np.uint16)),
        'use dino_plugin.LoadImage',
    ),
    'pages of two types': (tiff_of(IMAGE[..., 0], IMAGE[..., 0].astype(np.float32)), 'pages of two kinds'),
    'a TIFF of nothing': (b'II*\0\x08\0\0\0\0\0\0\0\0\0', 'tifffile cannot read it'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_what_is_no_image_of_numbers_is_refused_by_name(name, tmp_path, capsys):
    data, message = HOSTILE[name]
    (tmp_path / 'file.bin').write_bytes(data)
    with pytest.raises(UndecodableImageError, match=rf'file\.bin: .*{message}'):
        read_channels(tmp_path / 'file.bin', 5)
    assert 'must not' not in capsys.readouterr().out


@pytest.mark.parametrize('way', ['samples of a pixel', 'pages', 'Deflate', 'tiles'])
def test_a_truncated_tiff_is_refused_wherever_it_ends(way, tmp_path):
    path = tmp_path / 'image.tif'
    WAYS[way](path)
    data = path.read_bytes()
    for share in np.linspace(0.02, 0.98, 25):
        path.write_bytes(data[: int(share * len(data))])
        try:
            found = read_channels(path, 5)
        except ValueError:
            continue
        assert np.array_equal(found, IMAGE), f'{share:.0%} of the file became another image'


def test_pages_that_form_a_circle_are_not_followed_for_ever(tmp_path):
    path = tmp_path / 'image.tif'
    write_pages(path, [FIRST[0], FIRST[1, :20], FIRST[2, :10]])  # of one size tifffile notices it itself
    with tifffile.TiffFile(path) as file:
        places = [page.offset for page in file.pages]
        number_of_tags = len(file.pages[2].tags)
    data = bytearray(path.read_bytes())
    struct.pack_into('<I', data, places[2] + 2 + 12 * number_of_tags, places[1])  # after the last page the second one
    path.write_bytes(data)
    with pytest.raises(UndecodableImageError, match=r'image\.tif: .*form a circle'):
        read_channels(path, 5)


def test_more_pages_than_any_image_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(channel_files, 'MOST_PAGES', 4)
    write_pages(tmp_path / 'four.tif', FIRST[:4])
    assert np.array_equal(read_channels(tmp_path / 'four.tif', 4), IMAGE[..., :4])
    write_pages(tmp_path / 'five.tif', FIRST)
    with pytest.raises(UndecodableImageError, match=r'five\.tif: .*more than 4'):
        read_channels(tmp_path / 'five.tif', 5)


def test_an_image_of_more_pixels_than_allowed_is_refused_before_it_is_decoded(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', FIRST, photometric='minisblack', compression='zlib')
    tifffile.imwrite(tmp_path / 'tile.tif', FIRST, photometric='minisblack', compression='zlib', tile=(512, 512))
    np.save(tmp_path / 'a.npy', IMAGE)
    cv2.imwrite(str(tmp_path / 'a.png'), IMAGE[..., 0])
    most = math.prod(IMAGE.shape[:2])
    for name, channels in (('a.tif', 5), ('a.npy', 5), ('a.png', 1)):
        assert read_channels(tmp_path / name, channels, max_pixels=most).shape == (30, 40, channels)
        with pytest.raises(UndecodableImageError, match=rf'{name}: its header claims'):
            read_channels(tmp_path / name, channels, max_pixels=most - 1)
    with pytest.raises(UndecodableImageError, match=r'tile\.tif: its header claims'):
        read_channels(tmp_path / 'tile.tif', 5, max_pixels=most)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.tif')
    with pytest.raises(UndecodableImageError, match='not a regular file'):
        read_channels(tmp_path / 'pipe.tif', 5)


@pytest.mark.parametrize('image', [IMAGE, IMAGE[..., :2].copy(), IMAGE[..., 0].astype(np.float32)])
def test_the_loader_of_ordinary_images_says_who_reads_such_a_tiff(image, tmp_path):
    tifffile.imwrite(tmp_path / 'image.tif', image, photometric='minisblack', planarconfig='contig')
    with pytest.raises(UndecodableImageError, match=r'image\.tif: .*load it by dino_plugin.LoadChannels'):
        read_image(tmp_path / 'image.tif')


def test_lzw_is_read_by_imagecodecs_and_without_it_the_message_names_the_cure(tmp_path):
    path = tmp_path / 'image.tif'
    if find_spec('imagecodecs'):
        tifffile.imwrite(path, FIRST, photometric='minisblack', compression='lzw')
        assert np.array_equal(read_channels(path, 5), IMAGE)
        return
    tifffile.imwrite(path, IMAGE[..., 0], compression='zlib')
    data, entry = path.read_bytes(), struct.pack('<HHI', 259, 3, 1)  # the tag of the compression
    assert data.count(entry + b'\x08') == 1, 'Deflate'
    path.write_bytes(data.replace(entry + b'\x08', entry + b'\x05'))
    with pytest.raises(UndecodableImageError, match=r"image\.tif: .*pip install 'dino_plugin\[channels\]'"):
        read_channels(path, 1)
