"""What headers say is what decoding gives, and what claims too many pixels is not decoded."""

import io

import cv2
import numpy as np
import pytest
import tifffile
from damaged_images import FORMATS, LOSSLESS, claiming, encode, exif_data, with_chunk, with_segment
from PIL import Image, ImageFile, features

from dino_plugin.data.images.decoding import check_files, decode_image, image_size, read_image
from dino_plugin.data.images.headers import MAX_PIXELS, UndecodableImageError
from dino_plugin.data.images.label_masks import read_mask

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8))
EXIF = b'Exif\0\0'


@pytest.fixture
def no_decoder(monkeypatch):
    """Decoding fails the test: a claim has to be refused before it takes memory."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('OpenCV decodes'))
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda _: pytest.fail('Pillow decodes'))


@pytest.mark.parametrize('kind', FORMATS)
def test_a_small_file_that_claims_a_huge_size_is_refused_before_it_is_decoded(kind, no_decoder, tmp_path):
    side = 16_383 if kind in ('WEBP', 'lossless WEBP') else 30_000
    data = claiming(kind, side, side)
    assert len(data) < 3000
    path = tmp_path / 'bomb.png'
    path.write_bytes(data)
    for read in (read_image, image_size, read_mask, lambda path: check_files(dict(seg_map_path=path))):
        with pytest.raises(UndecodableImageError, match=rf'bomb\.png: .*max_pixels={MAX_PIXELS:,} are allowed'):
            read(path)


def test_the_message_says_file_claim_limit_and_cure(tmp_path):
    (tmp_path / 'sky.jpg').write_bytes(claiming('JPEG', 20_000, 30_000))
    with pytest.raises(UndecodableImageError) as error:
        read_image(tmp_path / 'sky.jpg')
    assert str(error.value) == (
        f'{tmp_path}/sky.jpg: its header claims 30000 x 20000 pixels, 600,000,000 in all, and max_pixels=178,956,970 '
        'are allowed: remove the file or make the image smaller; if it is genuine, raise max_pixels of the data set'
    )


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'])
def test_the_limit_itself_is_allowed_and_one_pixel_more_is_not(kind):
    data = encode(PICTURE.resize((16, 8)), kind)
    assert decode_image(data, max_pixels=128).shape == (8, 16, 3)
    with pytest.raises(UndecodableImageError, match='max_pixels=127 '):
        decode_image(data, max_pixels=127)


def test_the_limit_may_be_above_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 20)
    for kind in ('PNG', 'TIFF', 'PPM'):
        assert decode_image(encode(PICTURE, kind), max_pixels=60).shape == (6, 10, 3)
    assert Image.MAX_IMAGE_PIXELS == 20
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(encode(PICTURE, 'PNG')))


def test_a_small_tiff_in_a_huge_tile_is_refused():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.asarray(PICTURE), tile=(16, 32), photometric='rgb')
    assert decode_image(buffer.getvalue(), max_pixels=512).shape == (6, 10, 3)
    with pytest.raises(UndecodableImageError, match='claims 32 x 16 pixels'):
        decode_image(buffer.getvalue(), max_pixels=511)


def test_a_frame_that_is_larger_than_its_gif_is_refused():
    data = bytearray(encode(Image.new('RGB', (10, 6)), 'GIF'))
    place = data.index(b',\0\0\0\0') + 5
    data[place : place + 4] = b'\x60\xea' * 2  # 60,000 pixels
    with pytest.raises(UndecodableImageError, match='3600000000 pixels'):
        decode_image(bytes(data))


def test_programs_are_no_images():
    """Ghostscript would run them."""
    program = encode(PICTURE, 'EPS')
    assert Image.open(io.BytesIO(program)).format == 'EPS'
    with pytest.raises(UndecodableImageError, match='no decoder'):
        decode_image(program)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'])
def test_the_header_has_the_size_of_the_decoded_image(kind, orientation, tmp_path):
    if kind == 'AVIF' and not features.check('avif'):
        pytest.skip('this Pillow writes no AVIF')
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'turned'
    path.write_bytes(encode(PICTURE, kind, exif=exif, **LOSSLESS.get(kind, {})))
    turned = (10, 6) if orientation >= 5 else (6, 10)
    assert image_size(path) == read_image(path).shape[:2] == turned


JPEG, PNG = encode(PICTURE, 'JPEG'), encode(PICTURE, 'PNG')
TURNED = {
    'big-endian': with_segment(JPEG, EXIF + exif_data(6, '>')),
    'as a number of 32 bits': with_segment(JPEG, EXIF + exif_data(6, kind=4)),
    'as a big-endian number of 32 bits': with_segment(JPEG, EXIF + exif_data(6, '>', kind=4)),
    '0': with_segment(JPEG, EXIF + exif_data(0)),
    '9': with_segment(JPEG, EXIF + exif_data(9)),
    'after XMP': with_segment(with_segment(JPEG, EXIF + exif_data(8)), b'http://ns.adobe.com/xap/1.0/\0<x/>'),
    'in XMP alone': with_segment(JPEG, b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'),
    'twice, 6 first': with_segment(with_segment(JPEG, EXIF + exif_data(1)), EXIF + exif_data(6)),
    'twice, 1 first': with_segment(with_segment(JPEG, EXIF + exif_data(6)), EXIF + exif_data(1)),
    'in another segment': with_segment(JPEG, EXIF + exif_data(6), marker=0xE2),
    'without its prefix': with_segment(JPEG, exif_data(6)),
    'cut': with_segment(JPEG, EXIF + exif_data(6)[:14]),
    'of no entries': with_segment(JPEG, EXIF + b'II*\0\xff\xff\xff\xff'),
    'behind fill bytes': JPEG[:2] + b'\xff\xff' + with_segment(JPEG, EXIF + exif_data(6))[2:],
    'behind a restart marker': JPEG[:2] + b'\xff\xd0\xff\x01' + with_segment(JPEG, EXIF + exif_data(6))[2:],
    'behind an empty segment': with_segment(with_segment(JPEG, EXIF + exif_data(6)), b''),
    'PNG, big-endian': with_chunk(PNG, b'eXIf', exif_data(6, '>')),
    'PNG, behind the pixels': with_chunk(PNG, b'eXIf', exif_data(6), last=True),
    'PNG, twice': with_chunk(with_chunk(PNG, b'eXIf', exif_data(1)), b'eXIf', exif_data(6)),
    'PNG, with a wrong check sum': with_chunk(PNG, b'eXIf', exif_data(6)).replace(exif_data(6), exif_data(8)),
    'JPEG, with another byte order': with_segment(JPEG, EXIF + b'MX' + exif_data(6, '>')[2:]),
    'WebP, without its flag': encode(PICTURE, 'WEBP', exif=exif_data(6)).replace(
        b'VP8X\n\0\0\0\x08', b'VP8X\n\0\0\0\0'
    ),
    'PNG, with a prefix': with_chunk(PNG, b'eXIf', EXIF + exif_data(6)),
    'WebP, big-endian': encode(PICTURE, 'WEBP', exif=exif_data(6, '>')),
}


@pytest.mark.parametrize('name', TURNED)
def test_the_header_agrees_with_opencv_on_orientations_that_are_written_oddly(name, tmp_path):
    path = tmp_path / 'turned'
    path.write_bytes(TURNED[name])
    assert image_size(path) == cv2.imread(str(path)).shape[:2]


def test_bytes_that_no_marker_begins_and_endless_segments_end_quickly():
    fill = JPEG[:2] + b'\xff' * 3_000_000 + JPEG[2:]
    assert np.array_equal(decode_image(fill), decode_image(JPEG))
    for inserted in (b'\0' * 3_000_000, b'\xff\xe1\0\2' * 1_000_000):
        with pytest.raises(UndecodableImageError):
            decode_image(JPEG[:2] + inserted + JPEG[2:])


@pytest.mark.parametrize('name', [b'eXIf', b'tEXt', b'abCd'])
@pytest.mark.parametrize('last', [False, True])
def test_a_chunk_that_claims_more_bytes_than_the_file_has_is_not_decoded(name, last, no_decoder, tmp_path):
    """OpenCV takes memory for the claim: 2 GB and ten seconds for a file of 3 kB."""
    data = bytearray(with_chunk(PNG, name, b'abcd', last))
    place = data.index(name) - 4
    data[place : place + 4] = b'\x7f\xff\xff\xff'
    (tmp_path / 'a.png').write_bytes(data)
    for read in (read_image, read_mask, lambda path: check_files(dict(img_path=path))):
        with pytest.raises(UndecodableImageError, match=r'a\.png: the file is truncated'):
            read(tmp_path / 'a.png')


@pytest.mark.parametrize('name', [b'zTXt', b'iTXt', b'iCCP'])
def test_a_text_or_profile_that_unpacks_to_300_megabytes_takes_no_memory(name):
    import tracemalloc
    import zlib

    packer = zlib.compressobj(9)
    packed = b''.join(packer.compress(bytes(10**6)) for _ in range(300)) + packer.flush()
    prefix = {b'zTXt': b'a\0\0', b'iTXt': b'a\0\1\0\0\0', b'iCCP': b'a\0\0'}[name]
    data = with_chunk(PNG, name, prefix + packed)
    tracemalloc.start()
    assert np.array_equal(decode_image(data), np.asarray(PICTURE))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
