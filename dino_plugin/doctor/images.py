"""The images of a training: sizes, damage, copies, blanks, and the normalisation."""

from collections.abc import Sequence
from statistics import median_low
from typing import NamedTuple

import cv2
import numpy as np
import torch

from dino_plugin.data.images.decoding import UndecodableImageError, check_header, read_image
from dino_plugin.doctor.findings import Finding
from dino_plugin.doctor.normalisation import judge_normalisation
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.retrieval.pairs import closest_pairs

SIDE = 16  # of the grey images that are compared
COPY = 0.995  # cosine of grey images, each without its mean, from which on two are taken for copies
BLANK = 2.0  # standard deviation of the levels of an image, below which it shows nothing
MANY_PAIRS = 100_000


class Images(NamedTuple):
    """What a sample of the files shows.

    Attributes:
        total: Images of the training.
        looked_at: Of the sample.
        unreadable: Paths.
        blank: Paths of images of one colour.
        copies: Images of the sample that have a copy in it.
        side: Median of the shorter sides, in pixels.
        mean: Of the channels red, green, blue, in levels.
        std: Likewise.
    """

    total: int
    looked_at: int
    unreadable: list[str]
    blank: list[str]
    copies: int
    side: int
    mean: list[float]
    std: list[float]


def look_at_images(paths: Sequence[str], sample: int = 500) -> Images:
    """Read a sample, evenly spread.

    Raises:
        ValueError: If none of it can be read.
    """
    number = min(sample, len(paths))
    chosen = [paths[place * len(paths) // number] for place in range(number)]
    unreadable, blank, sides, grey, sums = [], [], [], [], np.zeros((2, 3))
    for path in progress(chosen, 'images'):
        try:
            sides.append(min(check_header(path)))
            pixels = read_image(path)
        except (UndecodableImageError, OSError):
            unreadable.append(path)
            continue
        small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float64)
        sums += [small.mean((0, 1)), np.square(small).mean((0, 1))]
        if small.std((0, 1)).max() < BLANK:
            blank.append(path)
            continue
        tiny = cv2.resize(small.mean(2), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grey.append(torch.from_numpy(tiny - tiny.mean()).flatten().float())
    read = number - len(unreadable)
    if not read:
        raise ValueError(f'None of {number} images can be read, such as {chosen[0]}: are these images?')
    mean = sums[0] / read
    std = np.sqrt(np.maximum(sums[1] / read - mean**2, 0))
    return Images(len(paths), number, unreadable, blank, _copies(grey), median_low(sides), mean.tolist(), std.tolist())


def _copies(grey: list[torch.Tensor]) -> int:
    if len(grey) < 2:
        return 0
    pairs = closest_pairs(torch.stack(grey), most=MANY_PAIRS, threshold=COPY)
    return len(set(pairs.first.tolist()) | set(pairs.second.tolist()))


def judge_images(images: Images, batch: int, view: int, mean: Sequence[float], std: Sequence[float]) -> list[Finding]:
    """Findings.

    Args:
        images: Measured.
        batch: Images of a step.
        view: Pixels of the shorter side of a global view.
        mean: Of the config's normalisation, in levels; empty if the images are not RGB.
        std: Likewise.
    """
    number = images.looked_at
    said = [Finding('ok', 'images', f'{images.total:,}, shorter side {images.side} px (median of {number})')]
    if images.total < 4 * batch:
        found = f'{images.total} are less than four batches of {batch}'
        said.append(Finding('warning', 'number of images', found, 'more images, or a smaller batch: --batch-size N'))
    if images.unreadable:
        found = f'{len(images.unreadable)} of {number}, such as {images.unreadable[0]}'
        said.append(
            Finding('warning', 'unreadable files', found, 'remove or copy them again; training skips up to 1 %')
        )
    if images.blank:
        found = f'{len(images.blank)} of {number}, such as {images.blank[0]}'
        level = 'fault' if len(images.blank) > number / 2 else 'notice'
        said.append(Finding(level, 'images of one colour', found, 'they teach nothing: leave them out'))
    share = images.copies / number
    if share > 0.02:
        remedy = 'keep one of each, docs/evaluators/retrieval.md; KoLeo drives copies apart'
        found = f'{share:.0%} of the sample have a near copy in it'
        said.append(Finding('warning' if share > 0.2 else 'notice', 'copies', found, remedy))
    if images.side < view:
        found = f'images of {images.side} px for views of {view} px: these are enlarged'
        said.append(Finding('notice', 'size', found, 'smaller views and patches, or the recipe auto'))
    return [*said, *judge_normalisation((images.mean, images.std), mean, std)]
