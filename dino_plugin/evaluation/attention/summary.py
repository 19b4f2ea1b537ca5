"""Heads over a data set: statistics of each image, and their means, deviations and clusters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dino_plugin.evaluation.attention.clusters import HeadClusters, cluster_heads, map_distances
from dino_plugin.evaluation.attention.heads import figure_statistics, map_statistics
from dino_plugin.evaluation.objects.images import VOID


class ImageHeads(NamedTuple):
    """What one image says about each head.

    Args:
        statistics: As in `map_statistics` and, if the image has figure and ground, `figure_statistics`.
        distances: As in `map_distances`.
    """

    statistics: dict[str, Float[Tensor, ' heads']]
    distances: Float[Tensor, 'heads heads']


class HeadsSummary(NamedTuple):
    """Heads over all images.

    Args:
        means: Of each statistic, over the images that have it.
        deviations: Standard deviations over the images; 0 if there is one image only.
        distances: Mean over the images.
        clusters: Of these distances; None if there are fewer than 3 heads.
        images: Number of images.
        with_figures: Number of those with figure and ground.
    """

    means: dict[str, Float[np.ndarray, ' heads']]
    deviations: dict[str, Float[np.ndarray, ' heads']]
    distances: Float[np.ndarray, 'heads heads']
    clusters: HeadClusters | None
    images: int
    with_figures: int

    @property
    def mean_distance(self) -> float:
        """Mean of the distances between two different heads, in [0, 1].

        A silhouette does not tell whether heads differ much: near 0 here, clusters group differences of no importance.
        """
        number = len(self.distances)
        return float(self.distances.sum() / max(number * (number - 1), 1))


def figure_of(labels: UInt8[np.ndarray, 'rows columns']) -> tuple[Tensor, Tensor]:
    """The pixels of all objects together, and those that are void."""
    labels = torch.from_numpy(labels)
    return (labels > 0) & (labels != VOID), labels == VOID


def describe_heads(
    maps: Float[Tensor, 'heads patch_rows patch_columns'],
    labels: UInt8[np.ndarray, 'rows columns'] | None = None,
    attended_distances: Float[Tensor, ' heads'] | None = None,
    threshold: float = 0.6,
) -> ImageHeads:
    """Statistics of all heads in one image, on the CPU.

    Args:
        maps: Attention of the class token to each patch, of all heads of all blocks.
        labels: 0 for the background, 255 for void, others for objects. Without, or without figure or ground, statistics
            of figures are missing.
        attended_distances: As in `attended_distance`, if they were computed.
        threshold: As in `map_statistics`.

    Raises:
        ValueError: As `map_statistics` and `count_in_patches`.
    """
    maps = maps.cpu()
    statistics = map_statistics(maps, threshold)
    if attended_distances is not None:
        statistics['attended_distance'] = attended_distances.cpu()
    if labels is not None:
        figure, void = figure_of(labels)
        if (figure & ~void).any() and (~figure & ~void).any():
            statistics |= figure_statistics(maps, figure, void)
    return ImageHeads(statistics, map_distances(maps))


def summarise_heads(images: Sequence[ImageHeads]) -> HeadsSummary:
    """Means and deviations over images, and clusters of the mean distances.

    Args:
        images: Of one network; images may differ in size.

    Raises:
        ValueError: If there is no image; as `cluster_heads` if there are 3 heads or more.
    """
    if not images:
        raise ValueError('heads cannot be described without an image.')
    names = list(dict.fromkeys(name for image in images for name in image.statistics))
    values = {
        name: torch.stack([image.statistics[name] for image in images if name in image.statistics]).double().numpy()
        for name in names
    }
    distances = torch.stack([image.distances for image in images]).mean(dim=0).numpy()
    return HeadsSummary(
        means={name: rows.mean(axis=0) for name, rows in values.items()},
        deviations={name: rows.std(axis=0) for name, rows in values.items()},
        distances=distances,
        clusters=cluster_heads(distances) if len(distances) >= 3 else None,
        images=len(images),
        with_figures=len(values.get('figure_mass', ())),
    )
