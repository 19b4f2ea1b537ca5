"""Scores of object masks in video, as DAVIS counts them: J (regions), F (boundaries), and both together."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dino_plugin.data.images.label_masks import labels_in
from dino_plugin.evaluation.video.clip import Clip

GLOBAL_TABLE, CLIP_TABLE = 'global_results.csv', 'per-sequence_results.csv'


class Statistics(NamedTuple):
    """Statistics over the frames of one object."""

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True, eq=False)
class ClipScores:
    """J (regions) and F (boundaries) of each object in each scored frame: all but the first and the last."""

    name: str
    objects: tuple[int, ...]
    regions: Float[np.ndarray, 'objects frames']
    boundaries: Float[np.ndarray, 'objects frames']


def region_similarity(truth: Bool[np.ndarray, 'rows columns'], found: Bool[np.ndarray, 'rows columns']) -> float:
    """J: intersection over union of two masks, and 1 if both are empty.

    References:
        Perazzi et al. 2016, A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, section 4.
    """
    union = np.count_nonzero(truth | found)
    return np.count_nonzero(truth & found) / union if union else 1.0


def boundary_accuracy(truth: Bool[np.ndarray, 'rows columns'], found: Bool[np.ndarray, 'rows columns']) -> float:
    """F: harmonic mean of the precision and the recall of a mask's boundary.

    precision = share of the pixels of found's boundary within r of truth's boundary
    recall    = share of the pixels of truth's boundary within r of found's boundary
    r         = ceil(0.008 * diagonal of the image) pixels

    If one mask is empty F is 0, if both are empty 1.

    References:
        As `region_similarity`; width and conventions are those of davisvideochallenge/davis2017-evaluation.
    """
    edges = [_boundary(mask) for mask in (truth, found)]
    num_truth, num_found = (np.count_nonzero(edge) for edge in edges)
    if num_truth == 0 or num_found == 0:
        return float(num_truth == num_found)
    disk = _disk(math.ceil(0.008 * math.hypot(*truth.shape)))
    near_truth, near_found = (cv2.dilate(edge.view(np.uint8), disk).view(bool) for edge in edges)
    precision = np.count_nonzero(edges[1] & near_truth) / num_found
    recall = np.count_nonzero(edges[0] & near_found) / num_truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Bool[np.ndarray, 'rows columns']) -> Bool[np.ndarray, 'rows columns']:
    """Pixels that differ from the pixel to the right, below, or diagonally below; the rim is repeated outside."""
    wide = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    here, right, below, across = wide[:-1, :-1], wide[:-1, 1:], wide[1:, :-1], wide[1:, 1:]
    return (here != right) | (here != below) | (here != across)


@cache
def _disk(radius: int) -> UInt8[np.ndarray, 'size size']:
    distance = np.arange(-radius, radius + 1) ** 2
    return (distance[:, None] + distance <= radius**2).astype(np.uint8)


def statistics(values: Float[np.ndarray, ' frames']) -> Statistics:
    """Mean; recall: share of frames above 0.5; decay: mean of the first quarter minus mean of the last.

    The bounds of the quarters are rounded to frames; neighbouring quarters share the frame at their bound. The official
    evaluator stores the bounds in 8 bits, so its decay is wrong from 257 scored frames on.
    """
    bounds = [math.floor((len(values) - 1) * share / 4 + 0.5 + 1e-10) for share in (0, 1, 3, 4)]
    first, last = values[: bounds[1] + 1], values[bounds[2] :]
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


def evaluate_clip(clip: Clip, masks: Iterable[UInt8[np.ndarray, 'rows columns']]) -> ClipScores:
    """J and F of all objects of a clip. One mask is in memory at a time.

    An object that is not in a mask is empty there. First and last frame are not scored.

    Args:
        clip: A clip with masks for all frames.
        masks: Masks of all frames, in order, with the labels of the clip's objects.

    Raises:
        ValueError: If the clip has only its first mask, a mask has another size or unknown labels, or there is not one
            mask for each frame.
    """
    if not clip.annotated:
        raise ValueError(f'{clip.name} has only the mask of its first frame: there is nothing to compare with.')
    scores = []
    number = 0
    for number, mask in enumerate(masks, start=1):
        if 1 < number < len(clip.frames):
            truth = clip.read_mask(number - 1)
            _refuse_other_labels(clip, number - 1, mask, truth.shape)
            pairs = [(truth == label, mask == label) for label in clip.objects]
            scores.append([(region_similarity(*pair), boundary_accuracy(*pair)) for pair in pairs])
    if number != len(clip.frames):
        raise ValueError(f'{clip.name} has {len(clip.frames)} frames, but got {number} masks: give one for each.')
    regions, boundaries = np.array(scores, dtype=np.float64).transpose(2, 1, 0)
    return ClipScores(clip.name, clip.objects, regions, boundaries)


def _refuse_other_labels(
    clip: Clip, index: int, mask: UInt8[np.ndarray, 'rows columns'], size: tuple[int, int]
) -> None:
    place = f'{clip.name}, frame {clip.frames[index].stem}'
    if mask.shape != size:
        raise ValueError(f'{place}: the mask has {mask.shape} rows and columns, the annotation {size}.')
    unknown = sorted(set(labels_in(mask)) - {0, *clip.objects})
    if unknown:
        raise ValueError(f'{place}: labels {unknown} in the mask are none of the objects {list(clip.objects)}.')


def global_results(scores: Sequence[ClipScores]) -> dict[str, float]:
    """The official numbers under their official names, as shares: means over all objects of all clips.

    J&F-Mean is the mean of J-Mean and F-Mean.
    """
    J, F = (
        np.mean([statistics(values) for score in scores for values in getattr(score, kind)], axis=0).tolist()
        for kind in ('regions', 'boundaries')
    )
    names = [f'{kind}-{name}' for kind in 'JF' for name in ('Mean', 'Recall', 'Decay')]
    return {'J&F-Mean': (J[0] + F[0]) / 2, **dict(zip(names, J + F))}


def write_tables(scores: Sequence[ClipScores], folder: Path) -> None:
    """Write `global_results.csv` and `per-sequence_results.csv`, with the official evaluator's columns and digits."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        (f'{score.name}_{label}', regions.mean(), boundaries.mean())
        for score in scores
        for label, regions, boundaries in zip(score.objects, score.regions, score.boundaries)
    ]
    total = global_results(scores)
    _write_table(folder / GLOBAL_TABLE, list(total), [tuple(total.values())])
    _write_table(folder / CLIP_TABLE, ['Sequence', 'J-Mean', 'F-Mean'], rows)


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with path.open('w', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(header)
        table.writerows([value if isinstance(value, str) else f'{value:.3f}' for value in row] for row in rows)
