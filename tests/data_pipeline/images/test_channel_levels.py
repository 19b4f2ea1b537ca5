"""Stored numbers become levels by the range that was given, and a range that does not fit is refused in words."""

import numpy as np
import pytest
import tifffile
from channel_images import FRAMES, five_channels

from dino_plugin.data.images.channel_levels import ValueRange
from dino_plugin.data.images.channel_loading import LoadChannels
from dino_plugin.data.images.headers import UndecodableImageError

IMAGE = five_channels(FRAMES[0], 30, 40)


def close(levels, expected):
    return levels.dtype == np.float32 and np.allclose(levels, expected, rtol=0, atol=2e-5)


def test_bytes_are_levels_already():
    image = (IMAGE >> 4).astype(np.uint8)
    assert np.array_equal(ValueRange()(image), image)
    assert np.array_equal(ValueRange(bits=8)(image), image)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_the_largest_number_of_a_bit_depth_is_white(bits):
    steps = np.arange(0, 2**bits, 2**bits // 256, dtype=np.uint16).reshape(16, 16, 1)
    assert close(ValueRange(bits=bits)(steps), 255.0 * steps / (2**bits - 1))
    assert ValueRange(bits=bits)(np.array([[[0, 2**bits - 1]]], np.uint16)).tolist() == [[[0.0, 255.0]]]


def test_every_step_of_sixteen_bits_is_a_level_of_its_own():
    steps = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert len(np.unique(ValueRange(bits=16)(steps))) == 65536


@pytest.mark.parametrize('kind', [np.int16, np.int32, np.float16, np.float32, np.float64])
def test_a_fixed_range_is_a_straight_line_that_is_cut_at_both_ends(kind):
    hounsfield = np.array([-2000, -1000, -400, 0, 400, 2000], kind).reshape(2, 3, 1)
    levels = ValueRange(value_range=(-1000, 400))(hounsfield)
    expected = [0, 0, 255 * 600 / 1400, 255 * 1000 / 1400, 255, 255]
    assert close(levels.ravel(), expected)


def test_large_whole_numbers_keep_their_differences():
    low = 2**31 - 300
    numbers = (low + np.arange(256)).astype(np.int32).reshape(16, 16, 1)
    assert close(ValueRange(value_range=(low, low + 255))(numbers).ravel(), np.arange(256))


def test_each_channel_has_its_own_pair_if_there_are_pairs():
    pairs = [(10 * n, 1000 + 500 * n) for n in range(5)]
    levels = ValueRange(value_range=pairs)(IMAGE)
    for channel, (low, high) in enumerate(pairs):
        expected = (255 * (IMAGE[..., channel].astype(float) - low) / (high - low)).clip(0, 255)
        assert close(levels[..., channel], expected)
    with pytest.raises(ValueError, match='4 pairs for 5 channels'):
        ValueRange(value_range=pairs[:4])(IMAGE)


def test_percentiles_are_those_of_each_image_and_channel():
    levels = ValueRange(percentiles=(2, 98))(IMAGE)
    for channel in range(5):
        plane = IMAGE[..., channel].astype(float)
        low, high = np.percentile(plane, [2, 98])
        assert np.allclose(levels[..., channel], (255 * (plane - low) / (high - low)).clip(0, 255), atol=1e-3)
    assert np.allclose(ValueRange(percentiles=(2, 98))(3 * IMAGE.astype(float) + 70), levels, atol=1e-3)


def test_a_channel_of_one_value_is_black_under_percentiles():
    image = np.stack([np.full((4, 5), 700), np.arange(20).reshape(4, 5)], axis=2).astype(np.uint16)
    levels = ValueRange(percentiles=(0, 100))(image)
    assert not levels[..., 0].any()
    assert close(levels[..., 1], 255 * image[..., 1] / 19)


def test_what_was_not_measured_is_left_out_of_percentiles_and_is_black(tmp_path):
    image = IMAGE.astype(np.float32)
    image[:10] = -9999
    image[10:12, :, 3] = np.nan
    levels = ValueRange(percentiles=(0, 100), nodata=-9999)(image)
    known = IMAGE[10:].astype(float)
    assert np.isnan(levels[:10]).all()
    assert np.isnan(levels[10:12, :, 3]).all()
    assert close(levels[10:, :, 0], 255 * (known[..., 0] - known[..., 0].min()) / np.ptp(known[..., 0]))
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, np.moveaxis(image, -1, 0), photometric='minisblack')
    loaded = LoadChannels(5, percentiles=(0, 100), nodata=-9999)(dict(img_path=str(path)))['img']
    assert np.array_equal(loaded, np.nan_to_num(levels, nan=0))


@pytest.mark.parametrize('given', [dict(bits=12), dict(value_range=(0, 4095)), dict(percentiles=(1, 99))])
def test_an_image_of_nothing_but_nodata_is_black(given):
    assert np.isnan(ValueRange(**given, nodata=0)(np.zeros((4, 5, 2), np.uint16))).all()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_unless_it_means_not_measured(value):
    image = IMAGE.astype(np.float32)
    image[3, 4, 1] = value
    with pytest.raises(UndecodableImageError, match=r'NaN or infinite\. Set nodata'):
        ValueRange(bits=12)(image)
    if np.isnan(value):
        assert np.isnan(ValueRange(bits=12, nodata=float('nan'))(image)).sum() == 1
    else:
        with pytest.raises(UndecodableImageError, match='NaN or infinite'):
            ValueRange(bits=12, nodata=float('nan'))(image)


def test_a_range_is_never_guessed():
    for image in (IMAGE, IMAGE.astype(np.int32), IMAGE.astype(np.float32)):
        with pytest.raises(ValueError, match=rf'values from {IMAGE.min()} to {IMAGE.max()}, .*Set bits=12'):
            ValueRange()(image)


def test_numbers_beyond_the_bit_depth_are_refused():
    with pytest.raises(ValueError, match=r'do not fit bits=10'):
        ValueRange(bits=10)(IMAGE)
    with pytest.raises(ValueError, match=r'from -1 to 4 do not fit bits=12'):
        ValueRange(bits=12)(np.array([[[-1, 4]]], np.int16))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(bits=12, percentiles=(1, 99)), 'keep one'),
        (dict(bits=0), '1 to 32'),
        (dict(value_range=(5, 5)), 'low < high'),
        (dict(value_range=[(0, 1), (3, 2)]), 'low < high'),
        (dict(value_range=(0, 1, 2)), 'low < high'),
        (dict(percentiles=(99, 1)), r'in \[0, 100\]'),
        (dict(percentiles=(0.01, 101)), r'in \[0, 100\]'),
    ],
)
def test_impossible_ranges_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ValueRange(**arguments)


def test_the_step_of_the_pipeline_keeps_the_chosen_channels_in_the_chosen_order(tmp_path):
    path = str(tmp_path / 'image.npy')
    np.save(path, IMAGE)
    results = LoadChannels(5, keep=(4, 0), value_range=[(0, 4095), (0, 2000)])(dict(img_path=path))
    expected = [255.0 * IMAGE[..., 4] / 4095, (255.0 * IMAGE[..., 0] / 2000).clip(0, 255)]
    assert close(results['img'], np.stack(expected, axis=2))
    assert results['channel_order'] == 'as_stored'
    assert results['img_shape'] == results['ori_shape'] == (30, 40)


def test_the_step_of_the_pipeline_takes_the_axis_and_the_limit_of_pixels_and_names_the_file(tmp_path):
    path = str(tmp_path / 'image.npy')
    np.save(path, np.moveaxis(IMAGE[:, :5], -1, 0))
    assert np.array_equal(
        LoadChannels(5, channel_axis=0, bits=12)(dict(img_path=path))['img'], ValueRange(bits=12)(IMAGE[:, :5])
    )
    for loader, results, message in (
        (LoadChannels(5, bits=12), {}, r'image\.npy: .*Set channel_axis'),
        (LoadChannels(5, channel_axis=0), {}, r'image\.npy: uint16 values .*Set bits=12'),
        (LoadChannels(5, channel_axis=0, bits=12), dict(max_pixels=9), r'image\.npy: its header claims'),
    ):
        with pytest.raises(ValueError, match=message):
            loader(dict(img_path=path, **results))
    with pytest.raises(ValueError, match="no 'img_path'"):
        LoadChannels(5)({})


@pytest.mark.parametrize('arguments', [dict(num_channels=0), dict(num_channels=3, channel_axis=1)])
def test_impossible_layouts_are_refused(arguments):
    with pytest.raises(ValueError, match='1 or more, and channel_axis is 0, -1 or None'):
        LoadChannels(**arguments)


@pytest.mark.parametrize('keep', [(), (0, 5), (-1,)])
def test_channels_that_do_not_exist_cannot_be_kept(keep):
    with pytest.raises(ValueError, match='keep names channels 0 to 4'):
        LoadChannels(5, keep=keep)


def test_files_on_another_storage_are_read_through_mmengine(tmp_path):
    np.save(tmp_path / 'image.npy', IMAGE)
    loader = LoadChannels(5, bits=12, backend_args=dict(backend='local'))
    assert loader(dict(img_path=str(tmp_path / 'image.npy')))['img'].shape == IMAGE.shape
    with pytest.raises(Exception, match='petrel'):
        LoadChannels(5, bits=12, backend_args=dict(backend='petrel'))(dict(img_path=str(tmp_path / 'image.npy')))
