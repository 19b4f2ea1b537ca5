"""The mean and deviation of the images that a network was trained with, as its file says them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dino_plugin.weights.networks.descriptions import read_card
from dino_plugin.weights.reading.sources import local_file
from dino_plugin.weights.safe_loading import load_checkpoint


class Normalisation(NamedTuple):
    """Mean and standard deviation of each channel, in levels of [0, 255]."""

    mean: list[float]
    std: list[float]


def normalisation_of(path: str | Path, checkpoint: Mapping[str, Any] | None = None) -> Normalisation | None:
    """What a training wrote into ``meta``, or an export into the `.json` beside it; None if neither says it.

    Args:
        path: Of the file, or its address.
        checkpoint: From `load_checkpoint`, if it is at hand.

    Raises:
        ValueError: If the file or the `.json` is damaged.
    """
    checkpoint = load_checkpoint(path) if checkpoint is None else checkpoint
    meta = checkpoint.get('meta')
    levels = meta.get('normalisation') if isinstance(meta, Mapping) else None
    if isinstance(levels, Mapping):
        mean, std = (_numbers(levels.get(name)) for name in Normalisation._fields)
    else:
        card = {} if '://' in str(path) else read_card(local_file(path)) or {}
        mean, std = ([round(255 * value, 3) for value in _numbers(card.get(name))] for name in Normalisation._fields)
    return Normalisation(mean, std) if mean and len(mean) == len(std) and min(std) > 0 else None


def _numbers(values: Any) -> list[float]:
    """The values; nothing if these are no numbers, since anybody may write a file."""
    valid = isinstance(values, (list, tuple)) and all(isinstance(value, (int, float)) for value in values)
    return [float(value) for value in values] if valid else []
