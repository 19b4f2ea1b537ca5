"""What a head attends to: statistics of its map in one image, with or without a mask of the objects."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dino_plugin.backbones.attention_maps import BlockAttention
from dino_plugin.evaluation.attention.mass import mass_mask, shares_of
from dino_plugin.evaluation.attention.patch_counts import count_in_patches

_CHUNK = 256  # query tokens whose attention is held at once


def map_statistics(
    maps: Float[Tensor, 'heads rows columns'], threshold: float = 0.6
) -> dict[str, Float[Tensor, ' heads']]:
    """Statistics of each head's map that need no mask.

    - `entropy`: -sum_p a_p log a_p / log(patches), in [0, 1]: 0 if all is at one patch, 1 if all patches get the same
    - `area`: share of the patches in the mask of `mass_mask`

    Args:
        maps: Attention of the class token to each patch; a_p is its share of the map's sum.
        threshold: Share of the mass for `area`.

    Raises:
        ValueError: As `shares_of`, and if there is only one patch.
    """
    shares = shares_of(maps).flatten(1)
    if shares.shape[1] < 2:
        raise ValueError('statistics of heads need at least 2 patches in an image: give larger images.')
    return dict(
        entropy=-torch.xlogy(shares, shares).sum(dim=1) / math.log(shares.shape[1]),
        area=mass_mask(maps, threshold).flatten(1).double().mean(dim=1),
    )


def figure_statistics(
    maps: Float[Tensor, 'heads patch_rows patch_columns'],
    figure: Bool[Tensor, 'rows columns'],
    void: Bool[Tensor, 'rows columns'] | None = None,
) -> dict[str, Float[Tensor, ' heads']]:
    """Statistics of each head's map that need a mask of the figure, all objects together.

    - `figure_mass`: share of the attention on the figure; a patch counts by its share of figure pixels
    - `inside`, `boundary`, `outside`: share of the attention at patches of figure only, of both, and of ground only;
      they sum to 1
    - `figure_ground_auc`: how often a figure pixel gets more attention than a pixel of the ground, over all pairs;
      equal attention counts half. 0.5 is chance
    - `peak_in_figure`: share of figure pixels in the patch with the most attention

    Args:
        maps: Attention of the class token to each patch.
        figure: Pixels of objects.
        void: Pixels that are neither; patches of nothing else do not count.

    Raises:
        ValueError: If figure or ground has no pixel; as `shares_of` and `count_in_patches`.
    """
    grid = maps.shape[1:]
    valid = torch.ones_like(figure) if void is None else ~void
    in_figure, in_ground = (count_in_patches(pixels & valid, grid).flatten() for pixels in (figure, ~figure))
    if in_figure.sum() == 0 or in_ground.sum() == 0:
        raise ValueError('the mask is all figure or all ground: their attention cannot be compared.')
    share = in_figure / (in_figure + in_ground).clamp_min(1)
    known = (in_figure + in_ground > 0).double()
    shares = shares_of(maps * known.view(grid)).flatten(1)
    both = (share > 0) & (share < 1)
    return dict(
        figure_mass=shares @ share,
        inside=shares @ (share == 1).double(),
        boundary=shares @ both.double(),
        outside=shares @ ((share == 0) * known),
        figure_ground_auc=_weighted_auc(shares, in_figure, in_ground),
        peak_in_figure=share[shares.argmax(dim=1)],
    )


def _weighted_auc(
    values: Float[Tensor, 'heads places'], positives: Float[Tensor, ' places'], negatives: Float[Tensor, ' places']
) -> Float[Tensor, ' heads']:
    """Share of pairs of a positive and a negative sample in which the positive one's value is larger.

    AUC = sum_ij positives_i negatives_j ([v_i > v_j] + [v_i = v_j] / 2) / (sum_i positives_i  sum_j negatives_j)

    Args:
        values: One for each place; all samples of a place share it.
        positives: Number of positive samples at each place.
        negatives: Number of negative samples.
    """
    return torch.stack([_auc(row, positives, negatives) for row in values])


def _auc(values: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    _, level = values.unique(return_inverse=True)
    zeros = values.new_zeros(int(level.max()) + 1)
    at_level = [zeros.index_add(0, level, counts) for counts in (positives, negatives)]
    below = at_level[1].cumsum(0) - at_level[1]
    return (at_level[0] * (below + at_level[1] / 2)).sum() / (positives.sum() * negatives.sum())


def attended_distance(attention: BlockAttention) -> Float[Tensor, 'batch heads']:
    """Mean distance between a patch and what it attends to, as a share of the image's diagonal.

    d = mean_i sum_j p_ij |x_i - x_j| / diagonal, over patches i and j, where p_i is scaled to sum to 1 over patches

    Args:
        attention: Of a block whose patches attend, too (not the class attention of CaiT and XCiT).

    Raises:
        ValueError: If only the class token attends in this block.

    References:
        Dosovitskiy et al. 2021, arXiv:2010.11929, figure 7.
    """
    rows, columns = attention.grid
    num_tokens, num_patches = attention.keys.shape[2], rows * columns
    if attention.queries.shape[2] != num_tokens:
        raise ValueError('in this block only the class token attends: patches have no attended distance.')
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(attention.keys.device).double()
    total = torch.zeros(attention.keys.shape[:2], dtype=torch.double, device=places.device)
    prefix = num_tokens - num_patches
    for start in range(0, num_patches, _CHUNK):
        own = places[start : start + _CHUNK]
        chosen = range(prefix + start, prefix + start + len(own))
        probabilities = attention.probabilities(chosen)[..., prefix:].double()
        distances = torch.cdist(own, places)
        total += ((probabilities * distances).sum(-1) / probabilities.sum(-1)).sum(-1)
    return total / num_patches / math.hypot(rows, columns)
