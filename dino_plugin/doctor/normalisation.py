"""Mean and deviation of the config against those of the images, and of a released network."""

from collections.abc import Mapping, Sequence
from typing import Any

from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS
from dino_plugin.doctor.findings import Finding

CLIP_MEAN_LEVELS = (122.8, 116.7, 104.1)
NEAR = 3.0  # levels within which two means are the same


def judge_normalisation(
    measured: Sequence[Sequence[float]], mean: Sequence[float], std: Sequence[float]
) -> list[Finding]:
    """The config against the images.

    Args:
        measured: Mean and deviation of the images, red, green, blue, in levels.
        mean: Of the config, in levels; other than three of them say nothing.
        std: Likewise.
    """
    if len(mean) != 3:
        return []
    apart = max(abs(own - given) / spread for own, given, spread in zip(measured[0], mean, std))
    ratios = [max(own, 1e-6) / given for own, given in zip(measured[1], std)]
    found = f'mean {rounded(measured[0])}, std {rounded(measured[1])}'
    given = f'{found}; the config has mean {rounded(mean)}, std {rounded(std)}'
    if apart > 1 or max(ratios) > 2 or min(ratios) < 0.5:
        level = 'warning' if apart > 3 else 'notice'
        return [Finding(level, 'normalisation', given, 'dino-plugin normalisation CONFIG prints the lines')]
    if blue_first(mean, measured[0]):
        remedy = f'red comes first: model.data_preprocessor.mean={rounded(mean[::-1])}, std={rounded(std[::-1])}'
        return [Finding('warning', 'normalisation', f'{given}: blue before red', remedy)]
    return [Finding('ok', 'normalisation', found)]


def blue_first(mean: Sequence[float], measured: Sequence[float]) -> bool:
    """Whether a mean is written blue, green, red.

    ImageNet's and CLIP's are known either way; turned, they are wrong unless the images have just this mean. Another
    mean is taken for turned if it fits the images three times as well the other way round.
    """
    known = (IMAGENET_MEAN_LEVELS, CLIP_MEAN_LEVELS)
    if any(_apart(mean, one) < NEAR for one in known):
        return False
    as_given, turned = _apart(mean, measured), _apart(mean[::-1], measured)
    if any(_apart(mean[::-1], one) < NEAR for one in known):
        return as_given >= NEAR
    return turned < as_given / 3


def _apart(first: Sequence[float], second: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(first, second))


def judge_released_normalisation(
    mean: Sequence[float], std: Sequence[float], trained_with: Mapping[str, Any]
) -> list[Finding]:
    """The config's normalisation against that of the released network, which timm names in [0, 1]."""
    theirs = [[255 * value for value in trained_with.get(name) or ()] for name in ('mean', 'std')]
    if [len(values) for values in theirs] != [len(mean), len(std)]:
        return []
    if _apart([*mean, *std], [*theirs[0], *theirs[1]]) < 2:
        return [Finding('ok', "the network's normalisation", 'as it was trained with')]
    found = f'mean {rounded(mean)}, std {rounded(std)}; the network was trained with {rounded(theirs[0])}, '
    remedy = f'model.data_preprocessor.mean={rounded(theirs[0])} model.data_preprocessor.std={rounded(theirs[1])}'
    return [Finding('warning', "the network's normalisation", found + str(rounded(theirs[1])), remedy)]


def rounded(values: Sequence[float]) -> list[int]:
    """Whole levels, for messages."""
    return [round(value) for value in values]
