"""What each image adds to a score, and how much of a difference between two networks chance explains."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

DRAWS = 1000


class ImageScores(NamedTuple):
    """A score as a sum over images: a mean over classes c that occur, in percent.

    score = 100 * mean_c ( sum_i parts[i, c] / sum_i wholes[i, c] )

    Mean IoU: intersections and unions. A mean over images, such as k-NN's accuracy: one class, and wholes of 1.
    """

    parts: Float[Tensor, 'images classes']
    wholes: Float[Tensor, 'images classes']

    @property
    def score(self) -> float:
        """In percent."""
        return float(_scores(self, torch.ones(1, len(self.parts), dtype=torch.double)))


def mean_over_images(shares: Shaped[Tensor, ' images']) -> ImageScores:
    """The score that is the mean of some shares in [0, 1], or of right and wrong."""
    parts = shares.float().cpu()[:, None]
    return ImageScores(parts, torch.ones_like(parts))


def error_of_difference(before: ImageScores, after: ImageScores, draws: int = DRAWS, seed: int = 0) -> float:
    """Standard error of `after.score - before.score`, in points, by the bootstrap.

    As many images as there are, drawn with replacement, give both scores; the result is the standard deviation of their
    difference over the draws. Both networks see the same draw, so images that are hard for both cancel out.

    Args:
        before: Of one network.
        after: Of another one, for the same images in the same order.
        draws: Number of draws.
        seed: Of the draws.

    Raises:
        ValueError: If they are not of the same images and classes.

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 and 8.
    """
    if before.parts.shape != after.parts.shape:
        raise ValueError(
            f'Scores of {tuple(before.parts.shape)} and {tuple(after.parts.shape)} images and classes cannot be '
            'compared: measure both networks on the same images.'
        )
    images = len(before.parts)
    drawn = torch.randint(images, (draws, images), generator=torch.Generator().manual_seed(seed))
    times = torch.zeros(draws, images, dtype=torch.double).scatter_add_(1, drawn, torch.ones_like(drawn).double())
    return float((_scores(after, times) - _scores(before, times)).std())


def _scores(scores: ImageScores, times: Float[Tensor, 'draws images']) -> Float[Tensor, ' draws']:
    """Each image counts so many times."""
    parts, wholes = times @ scores.parts.double(), times @ scores.wholes.double()
    return (100 * parts / wholes).nanmean(dim=1)
