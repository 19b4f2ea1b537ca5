"""Mean, deviation and percentiles, image by image, are those of all pixels together."""

import numpy as np
import pytest
from channel_images import FRAMES, five_channels

from dino_plugin.data.images import channel_statistics
from dino_plugin.data.images.channel_statistics import measure_normalisation, measure_percentiles

IMAGES = [five_channels(path, 30 + 7 * n, 40) for n, path in enumerate(FRAMES)]


def all_pixels(images):
    return np.concatenate([image.reshape(-1, image.shape[-1]) for image in images]).astype(np.float64)


@pytest.mark.parametrize('channels', [1, 2, 5])
@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_mean_and_deviation_are_those_of_numpy_in_float64(channels, kind):
    images = [(image[..., :channels] % 251).astype(kind) for image in IMAGES]
    found, pixels = measure_normalisation(iter(images)), all_pixels(images)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-13)


def test_a_small_spread_far_from_zero_is_not_lost():
    generator = np.random.default_rng(0)
    images = [1e8 + generator.normal(size=(9, 11, 2)) for _ in range(50)]
    found, pixels = measure_normalisation(images), all_pixels(images)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-7)


def test_what_was_not_measured_is_left_out_and_may_be_a_whole_image():
    images = [image.astype(np.float32) for image in IMAGES]
    images[0][3:9, :, 1] = np.nan
    images.insert(0, np.full((4, 4, 5), np.nan, np.float32))
    found, pixels = measure_normalisation(images), all_pixels(images)
    np.testing.assert_allclose(found.mean, np.nanmean(pixels, axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.std, np.nanstd(pixels, axis=0), rtol=1e-13)
    np.testing.assert_allclose(measure_percentiles(images, (1, 99)), np.nanpercentile(pixels, (1, 99), axis=0).T)


@pytest.mark.parametrize('measure', [measure_normalisation, lambda images: measure_percentiles(images, (1, 99))])
def test_images_that_have_no_common_statistics_are_refused(measure):
    nothing = np.stack([np.ones((4, 4)), np.full((4, 4), np.nan)], axis=2)
    for images, message in (
        ([], 'nothing to measure'),
        ([nothing, nothing], 'nothing to measure'),
        ([IMAGES[0], IMAGES[0][..., :3]], 'of 5 and of 3 channels'),
    ):
        with pytest.raises(ValueError, match=message):
            measure(iter(images))


def test_percentiles_of_few_pixels_are_exact():
    found = measure_percentiles(iter(IMAGES), (0, 2, 50, 100))
    np.testing.assert_allclose(found, np.percentile(all_pixels(IMAGES), (0, 2, 50, 100), axis=0).T)


def test_percentiles_of_many_pixels_are_those_of_a_sample_that_every_image_is_part_of(monkeypatch):
    monkeypatch.setattr(channel_statistics, 'MOST_PIXELS', 4000)
    images = [np.full((50, 40, 1), number) for number in range(100)]  # 200,000 pixels, uniform over the numbers
    found = measure_percentiles(iter(images), (10, 50, 90))
    assert np.abs(found - [[10, 50, 90]]).max() < 4, 'five standard deviations of 2,000 pixels'
