"""Found boxes against true ones: CorLoc, and recall and precision of several objects."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from dino_plugin.evaluation.objects.boxes import Boxes

ENOUGH = 0.5  # intersection over union of a box that counts as found


class BoxScores(NamedTuple):
    """Shares over a data set, in [0, 1].

    Args:
        corloc: Images whose first box overlaps enough with any true box.
        recall: True boxes that are matched.
        precision: Found boxes that are matched; nan if there is none.
    """

    corloc: float
    recall: float
    precision: float


def overlaps(found: Boxes, truth: Float[np.ndarray, 'truths 4']) -> Float[np.ndarray, 'boxes truths']:
    """Intersection over union of each pair of boxes (left, top, right, bottom)."""
    start = np.maximum(found[:, None, :2], truth[:, :2])
    end = np.minimum(found[:, None, 2:], truth[:, 2:])
    shared = (end - start).clip(min=0).prod(axis=-1)
    areas, true_areas = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (found, truth))
    return shared / (areas[:, None] + true_areas - shared)


def score_boxes(found: Sequence[Float[np.ndarray, '_ 4']], truth: Sequence[Float[np.ndarray, '_ 4']]) -> BoxScores:
    """Scores of boxes of a data set.

    A found box counts if its intersection over union with a true one is at least 0.5. CorLoc looks at the first box of
    each image, and is wrong where there is none. For recall and precision, found and true boxes are matched one to one,
    as many as possible.

    Args:
        found: Boxes of each image, the most certain first.
        truth: True boxes of each image, at least one.

    Raises:
        ValueError: If there is no image, or one without a true box.

    References:
        Deselaers et al. 2010, Localizing Objects While Learning Their Appearance (CorLoc); for boxes without classes as
        in Siméoni et al. 2021, arXiv:2109.14279.
    """
    if not len(truth) or len(found) != len(truth) or not all(len(boxes) for boxes in truth):
        raise ValueError(
            f'{len(truth)} images with true boxes and {len(found)} with found ones: give one entry for each image, and '
            'leave out images without a true box.'
        )
    enough = [overlaps(*pair) >= ENOUGH for pair in zip(found, truth)]
    matched = sum(int(pairs[linear_sum_assignment(pairs, maximize=True)].sum()) for pairs in enough)
    num_found = sum(map(len, found))
    return BoxScores(
        corloc=sum(bool(pairs[:1].any()) for pairs in enough) / len(truth),
        recall=matched / sum(map(len, truth)),
        precision=matched / num_found if num_found else float('nan'),
    )
