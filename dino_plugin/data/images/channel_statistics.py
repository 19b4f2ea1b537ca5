"""Mean, standard deviation and percentiles of each channel over many images, one image in memory at a time."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

MOST_PIXELS = 2**20  # of the sample that percentiles are taken from
Image = Shaped[np.ndarray, '_ _ _']  # rows columns channels, numbers of any type; NaN is left out


class Normalisation(NamedTuple):
    """Of all pixels of all images, in the unit of the images; the deviation is that of numpy, divided by the number."""

    mean: Float64[np.ndarray, ' channels']
    std: Float64[np.ndarray, ' channels']


def measure_normalisation(images: Iterable[Image]) -> Normalisation:
    """Mean and standard deviation of each channel in float64, as if all pixels were in one array.

    With mean m and squared deviations s of n numbers so far, and those of the next image, d = m' - m:

    m -> m + d n' / (n + n')        s -> s + s' + d^2 n n' / (n + n')

    Args:
        images: Of any sizes, with equally many channels.

    Raises:
        ValueError: If there is no image, the images differ in channels, or a channel has no number.

    References:
        Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
    """
    count = mean = deviations = None
    for image in images:
        pixels = image.reshape(-1, image.shape[-1]).astype(np.float64)
        if count is None:
            count, mean, deviations = np.zeros((3, pixels.shape[1]))
        if pixels.shape[1] != len(count):
            raise ValueError(f'images of {len(count)} and of {pixels.shape[1]} channels have no common mean: sort them')
        known = ~np.isnan(pixels)
        of_image = known.sum(axis=0)
        total = np.maximum(count + of_image, 1)
        own = np.where(known, pixels, 0).sum(axis=0) / np.maximum(of_image, 1)
        own_deviations = np.square(np.where(known, pixels - own, 0)).sum(axis=0)
        difference = np.where(of_image > 0, own - mean, 0)
        mean += difference * of_image / total
        deviations += own_deviations + difference**2 * count * of_image / total
        count += of_image
    if count is None or not count.all():
        raise ValueError('no image, or a channel without a number in all images: there is nothing to measure')
    return Normalisation(mean, np.sqrt(deviations / count))


def measure_percentiles(
    images: Iterable[Image], percentiles: Sequence[float | int]
) -> Float64[np.ndarray, 'channels percentiles']:
    """Percentiles of each channel over all images, of a random sample of at most 2^20 pixels.

    Args:
        images: As for :func:`measure_normalisation`.
        percentiles: In [0, 100].

    Raises:
        ValueError: As for :func:`measure_normalisation`.
    """
    generator, share, kept, number = np.random.default_rng(0), 1.0, [], 0
    for image in images:
        pixels = image.reshape(-1, image.shape[-1]).astype(np.float64)
        if kept and kept[0].shape[1] != pixels.shape[1]:
            raise ValueError(f'images of {kept[0].shape[1]} and of {pixels.shape[1]} channels: sort them')
        kept.append(pixels if share == 1 else pixels[generator.random(len(pixels)) < share])
        number += len(kept[-1])
        while number > MOST_PIXELS:
            kept, share = [part[generator.random(len(part)) < 0.5] for part in kept], share / 2
            number = sum(map(len, kept))
    channels = np.concatenate(kept).T if kept else ()
    known = [channel[~np.isnan(channel)] for channel in channels]
    if not known or not all(map(len, known)):
        raise ValueError('no image, or a channel without a number in all images: there is nothing to measure')
    return np.array([np.percentile(channel, percentiles) for channel in known])
