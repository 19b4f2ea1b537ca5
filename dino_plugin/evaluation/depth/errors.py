"""Errors of a depth map, and which of its pixels count."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# First and last row, first and last column, as shares of the image.
CROPS = {
    'eigen': (45 / 480, 471 / 480, 41 / 640, 601 / 640),  # NYU, of 480 x 640 pixels
    'garg': (0.40810811, 0.99189189, 0.03594771, 0.96405229),  # KITTI
}
ALIGNMENTS = ('none', 'scale', 'scale and shift')


def depth_errors(predicted: Float[Tensor, ' pixels'], truth: Float[Tensor, ' pixels']) -> dict[str, float]:
    """Errors of the pixels of one image.

    With p predicted, t true and means over pixels:

    - `d1`, `d2`, `d3`: share of pixels with max(p / t, t / p) < 1.25, 1.25^2, 1.25^3; higher is better
    - `abs_rel` = mean |p - t| / t,   `sq_rel` = mean (p - t)^2 / t
    - `rmse` = sqrt mean (p - t)^2,   `rmse_log` = sqrt mean (ln p - ln t)^2
    - `log10` = mean |log10 p - log10 t|
    - `silog` = 100 sqrt(variance of ln p - ln t): does not change with the scale of p

    Args:
        predicted: Depths in metres, above 0.
        truth: The same pixels, above 0.

    References:
        Eigen et al. 2014, arXiv:1406.2283, section 4.
    """
    predicted, truth = predicted.double(), truth.double()
    ratio = torch.maximum(predicted / truth, truth / predicted)
    difference, log_difference = predicted - truth, predicted.log() - truth.log()
    found = {f'd{power}': (ratio < 1.25**power).double().mean() for power in (1, 2, 3)}
    found['abs_rel'] = (difference.abs() / truth).mean()
    found['sq_rel'] = (difference.square() / truth).mean()
    found['rmse'] = difference.square().mean().sqrt()
    found['rmse_log'] = log_difference.square().mean().sqrt()
    found['log10'] = log_difference.abs().mean() / torch.log(truth.new_tensor(10.0))
    found['silog'] = 100 * log_difference.var(correction=0).sqrt()
    return {name: value.item() for name, value in found.items()}


def counted_pixels(
    truth: Float[Tensor, 'rows columns'], min_depth: float, max_depth: float, crop: str | None
) -> Bool[Tensor, 'rows columns']:
    """Pixels with a depth within the range, inside of the crop.

    Args:
        truth: Depths in metres; 0 where nothing was measured.
        min_depth: Smallest depth that counts, itself excluded.
        max_depth: Largest depth that counts, itself excluded.
        crop: A name of `CROPS`, or None for the whole image.
    """
    counted = (truth > min_depth) & (truth < max_depth)
    if crop is None:
        return counted
    top, bottom, left, right = _edges(CROPS[crop], truth.shape)
    inside = torch.zeros_like(counted)
    inside[top:bottom, left:right] = True
    return counted & inside


def _edges(shares: Sequence[float], size: Sequence[int]) -> list[int]:
    """The crop in pixels; shares that are exact in the data set's own size give its exact numbers."""
    return [int(share * size[place // 2] + 1e-6) for place, share in enumerate(shares)]


def aligned(
    predicted: Float[Tensor, ' pixels'], truth: Float[Tensor, ' pixels'], alignment: str
) -> Float[Tensor, ' pixels']:
    """The prediction, after the best factor, or factor and shift, by least squares.

    It shows what a network knows of another camera, whose scale it cannot know.

    Args:
        predicted: Depths of one image.
        truth: The same pixels.
        alignment: One of `ALIGNMENTS`.
    """
    if alignment == 'none':
        return predicted
    columns = [predicted] if alignment == 'scale' else [predicted, torch.ones_like(predicted)]
    matrix = torch.stack(columns, dim=1).double()
    best = torch.linalg.lstsq(matrix, truth.double()[:, None]).solution
    return (matrix @ best)[:, 0].to(predicted.dtype)
