"""Every kind of image arrives as `decode_image` documents, and what is no whole image is refused."""

import io

import cv2
import numpy as np
import pytest
from bundled import DAVIS
from PIL import Image, ImageOps

from dino_plugin.data.images.decoding import UndecodableImageError, decode_image

LOSSLESS = {'PNG': {}, 'WEBP': dict(lossless=True, exact=True), 'BMP': {}, 'TIFF': {}}


@pytest.fixture(scope='module')
def picture() -> Image.Image:
    return Image.open(sorted(DAVIS.glob('JPEGImages/480p/*/*.jpg'))[0]).convert('RGB').resize((64, 48))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def through_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))


def with_random_alpha(image: Image.Image) -> Image.Image:
    alpha = np.random.default_rng(0).integers(0, 256, (image.height, image.width), dtype=np.uint8)
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.mark.parametrize('kind', LOSSLESS)
def test_lossless_colour_images_arrive_unchanged_in_rgb(picture, kind):
    assert np.array_equal(decode_image(encode(picture, kind, **LOSSLESS[kind])), np.asarray(picture))


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(subsampling=0), dict(keep_rgb=True)])
def test_jpeg_arrives_as_pillow_decodes_it(picture, options):
    data = encode(picture, 'JPEG', **options)
    assert np.array_equal(decode_image(data), through_pillow(data))


@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw', 'tiff_deflate', 'packbits', 'jpeg'])
def test_compressed_tiff_arrives_as_pillow_decodes_it(picture, compression):
    data = encode(picture, 'TIFF', compression=compression)
    assert np.array_equal(decode_image(data), through_pillow(data))


def test_a_red_image_stays_red():
    red = Image.new('RGB', (8, 8), (255, 0, 0))
    for kind, options in LOSSLESS.items():
        assert (decode_image(encode(red, kind, **options)) == (255, 0, 0)).all()


def test_every_bundled_image_can_be_decoded():
    files = [*DAVIS.rglob('*.jpg'), *DAVIS.rglob('*.png')]
    assert files
    for file in files:
        assert decode_image(file.read_bytes()).shape == (480, 854, 3)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF'])
def test_greyscale_becomes_three_equal_channels(picture, kind):
    grey = picture.convert('L')
    arrived = decode_image(encode(grey, kind, **LOSSLESS.get(kind, dict(quality=100))))
    assert (arrived == arrived[..., :1]).all()
    assert np.abs(arrived[..., 0].astype(int) - np.asarray(grey)).max() <= (2 if kind == 'JPEG' else 0)


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF'])
def test_one_bit_images_become_black_and_white(picture, kind):
    bits = picture.convert('1')
    assert np.array_equal(decode_image(encode(bits, kind)), np.asarray(bits.convert('RGB')))


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF'])
@pytest.mark.parametrize('colours', [2, 4, 16, 200])
def test_a_palette_becomes_its_colours(picture, kind, colours):
    palette = picture.quantize(colours)
    assert np.array_equal(decode_image(encode(palette, kind)), np.asarray(palette.convert('RGB')))


@pytest.mark.parametrize('transparency', [3, bytes(range(0, 256, 8))])
def test_transparent_palette_entries_keep_their_colour(picture, transparency):
    palette = picture.quantize(32)
    data = encode(palette, 'PNG', transparency=transparency)
    assert np.array_equal(decode_image(data), np.asarray(palette.convert('RGB')))


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'TIFF'])
def test_alpha_is_dropped_and_the_stored_colours_stay(picture, kind):
    data = encode(with_random_alpha(picture), kind, **LOSSLESS[kind])
    assert np.array_equal(decode_image(data), np.asarray(picture))


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_grey_with_alpha_becomes_grey(picture, kind):
    grey = picture.convert('L')
    data = encode(with_random_alpha(grey), kind)
    assert np.array_equal(decode_image(data), np.asarray(grey.convert('RGB')))


def test_a_transparent_colour_stays_a_colour(picture):
    corner = picture.getpixel((0, 0))
    assert np.array_equal(decode_image(encode(picture, 'PNG', transparency=corner)), np.asarray(picture))


def test_cmyk_follows_the_documented_formula(picture):
    data = encode(picture.convert('CMYK'), 'JPEG', quality=95)
    cyan, magenta, yellow, key = np.moveaxis(np.asarray(Image.open(io.BytesIO(data))).astype(float), -1, 0)
    expected = np.stack([(255 - ink) * (255 - key) / 255 for ink in (cyan, magenta, yellow)], axis=-1)
    assert np.abs(decode_image(data) - expected).max() <= 1.5
    assert np.abs(decode_image(encode(picture.convert('CMYK'), 'TIFF')) - np.asarray(picture).astype(float)).max() <= 1


def test_ycck_jpeg_arrives_within_one_grey_level_of_pillow(picture):
    data = bytearray(encode(picture.convert('CMYK'), 'JPEG'))
    data[data.find(b'Adobe') + 11] = 2  # the colour transform of the Adobe segment: 2 means YCCK
    difference = decode_image(bytes(data)).astype(int) - through_pillow(bytes(data))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize('extension', ['.png', '.tiff'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_sixteen_bits_become_their_high_byte(extension, channels):
    deep = np.random.default_rng(0).integers(0, 2**16, (48, 64, channels), dtype=np.uint16)
    bgr_order = [0] if channels == 1 else [2, 1, 0, 3][:channels]
    data = cv2.imencode(extension, deep[..., bgr_order])[1].tobytes()
    expected = np.repeat(deep, 3, axis=2) if channels == 1 else deep[..., :3]
    assert np.array_equal(decode_image(data), expected >> 8)


def test_big_endian_sixteen_bit_tiff_becomes_its_high_byte():
    deep = np.random.default_rng(0).integers(0, 2**16, (48, 64), dtype=np.uint16)
    arrived = decode_image(encode(Image.fromarray(deep.astype('>u2')), 'TIFF'))
    assert np.array_equal(arrived, np.repeat((deep >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_samples_of_unknown_range_are_refused(dtype):
    data = encode(Image.fromarray(np.ones((4, 4), dtype=dtype)), 'TIFF')
    with pytest.raises(UndecodableImageError, match='32-bit'):
        decode_image(data)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_stored_orientation_is_applied(picture, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = LOSSLESS.get(kind, dict(quality=100))
    data = encode(picture, kind, exif=exif, **options)
    plain = Image.fromarray(through_pillow(encode(picture, kind, **options)))
    plain.getexif()[0x0112] = orientation
    assert np.array_equal(decode_image(data), np.asarray(ImageOps.exif_transpose(plain)))


@pytest.mark.parametrize('kind', ['GIF', 'ICO'])
def test_other_formats_that_a_decoder_knows_are_taken(picture, kind):
    data = encode(picture, kind)
    assert np.array_equal(decode_image(data), through_pillow(data))


def test_the_result_is_contiguous_and_may_be_written_to(picture):
    for kind, options in LOSSLESS.items():
        image = decode_image(encode(picture, kind, **options))
        assert image.flags.writeable
        assert image.flags.c_contiguous


TRUNCATABLE = {
    'JPEG': {},
    'progressive JPEG': dict(progressive=True),
    'PNG': {},
    'WEBP': {},
    'lossless WEBP': dict(lossless=True),
    'BMP': {},
    'TIFF': {},
    'LZW TIFF': dict(compression='tiff_lzw'),
}


@pytest.mark.parametrize('name', TRUNCATABLE)
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_undecodable(picture, name, share):
    data = encode(picture, name.split()[-1], **TRUNCATABLE[name])
    with pytest.raises(UndecodableImageError):
        decode_image(data[: int(share * len(data))])


def test_the_end_of_an_embedded_thumbnail_is_not_taken_for_the_end_of_the_image(picture, monkeypatch):
    thumbnail = encode(picture.resize((16, 12)), 'JPEG')
    whole = encode(picture, 'JPEG', exif=b'Exif\0\0' + thumbnail)
    half = whole[: len(whole) - 300]
    assert half.count(b'\xff\xd9') == 1
    assert decode_image(whole).shape == (48, 64, 3)
    # whatever the decoder: older OpenCV fills the missing half with grey instead of refusing
    monkeypatch.setattr(cv2, 'imdecode', lambda data, flags: np.full((48, 64, 3), 128, np.uint8))
    with pytest.raises(UndecodableImageError, match='truncated'):
        decode_image(half)


@pytest.mark.parametrize('name', TRUNCATABLE)
def test_bytes_after_the_end_are_ignored(picture, name):
    data = encode(picture, name.split()[-1], **TRUNCATABLE[name])
    assert np.array_equal(decode_image(data + b'\0' * 1000), decode_image(data))


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'', 'empty'),
        (b'\n<!DOCTYPE html><html>404 Not Found</html>', 'HTML'),
        (b'<?xml version="1.0"?><Error/>', 'XML'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 'git lfs pull'),
        (b'just some text', 'no decoder'),
        (b'\xff\xd8', 'truncated'),
        (b'\xff\xd8\xff\xe0\xff', 'truncated'),
        (b'\x89PNG\r\n\x1a\n', 'truncated'),
        (b'\x89PNG\r\n\x1a\n' + b'\0' * 64 + b'IEND', 'no decoder'),
        (b'\xff\xd8\xff\xda' + b'\0' * 64 + b'\xff\xd9', 'no decoder'),
        (b'II*\0' + b'\0' * 64, 'no decoder'),
        (b'BM' + b'\0' * 64, 'no decoder'),
        (b'RIFF\x04\0\0\0WEBP', 'no decoder'),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(data, reason):
    with pytest.raises(UndecodableImageError, match=reason):
        decode_image(data)


def test_a_header_that_promises_too_many_pixels_is_refused(picture):
    data = bytearray(encode(picture, 'PNG'))
    data[16:24] = (2**30).to_bytes(4, 'big') * 2
    with pytest.raises(UndecodableImageError):
        decode_image(bytes(data))
