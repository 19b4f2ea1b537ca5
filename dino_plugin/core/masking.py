"""Which patches are hidden from the student: how many of each view, and where."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_ATTEMPTS = 10  # to place one block, as in BEiT


def stratified_ratios(
    num_views: int, share: float, least: float, most: float, generator: torch.Generator
) -> Float[Tensor, ' num_views']:
    """Exactly ``int(share * num_views)`` views are masked, their ratios spread evenly over [least, most).

    The range is cut into as many equal parts as there are masked views, one ratio is drawn from each, and the views are
    shuffled: every batch hides nearly the same number of patches.

    Args:
        num_views: Views of all images of the batch.
        share: Of the views that are masked, in [0, 1].
        least: Smallest share of hidden patches of a masked view.
        most: Largest share.
        generator: Source of the random numbers.

    Returns:
        Share of hidden patches by view; 0 for views that stay whole.

    References:
        The collate function of DINOv2's code; the paper does not mention it.
    """
    num_masked = int(share * num_views)
    ratios = torch.zeros(num_views)
    steps = torch.arange(num_masked) + torch.rand(num_masked, generator=generator)
    ratios[:num_masked] = least + (most - least) * steps / max(1, num_masked)
    return ratios[torch.randperm(num_views, generator=generator)]


def independent_ratios(
    num_views: int, share: float, least: float, most: float, generator: torch.Generator
) -> Float[Tensor, ' num_views']:
    """Each view is masked with probability ``share``, by a ratio uniform in [least, most).

    Arguments and result are those of :func:`stratified_ratios`.

    References:
        Zhou et al. 2022 (iBOT), arXiv:2111.07832, section 3.3: with probability 0.5, by 0.3 give or take 0.2.
    """
    ratios = least + (most - least) * torch.rand(num_views, generator=generator)
    return ratios * (torch.rand(num_views, generator=generator) < share)


def block_masks(
    num_hidden: Int[Tensor, ' masks'],
    rows: int,
    columns: int,
    generator: torch.Generator,
    min_patches: int = 4,
    min_aspect: float = 0.3,
) -> Bool[Tensor, 'masks rows columns']:
    """Masks of rectangular blocks with exactly ``num_hidden`` hidden patches each.

    Blocks of random area (uniform between ``min_patches`` and what is still to be hidden) and random aspect ratio
    (log-uniform) are placed at random while they hide something new and not too much. What ten blocks in a row could
    not hide, and a rest of fewer than ``min_patches``, is filled up with single patches. All masks are drawn side by
    side.

    Args:
        num_hidden: For each mask, between 0 and rows * columns.
        rows: Of the patch grid.
        columns: Of the patch grid.
        generator: Source of the random numbers.
        min_patches: Smallest area of a block, in patches; at least 1.
        min_aspect: Aspect ratios lie in [min_aspect, 1 / min_aspect], in (0, 1].

    Returns:
        True where a patch is hidden.

    References:
        Bao et al. 2022 (BEiT), arXiv:2106.08254, algorithm 1, one block for all masks at a time. There the last few
        patches stay visible; here the number is exact, as in DINOv3's code.
    """
    masks = torch.zeros(len(num_hidden), rows, columns, dtype=torch.bool)
    missing, failures = num_hidden.clone(), torch.zeros_like(num_hidden)
    while len(open_masks := ((missing >= min_patches) & (failures < _ATTEMPTS)).nonzero()[:, 0]):
        blocks = _random_blocks(missing[open_masks], rows, columns, generator, min_patches, min_aspect)
        hidden = masks[open_masks]
        num_new = (blocks & ~hidden).flatten(1).sum(dim=1)
        fits = (num_new > 0) & (num_new <= missing[open_masks])
        masks[open_masks] = hidden | (blocks & fits[:, None, None])
        missing[open_masks] -= num_new * fits
        failures[open_masks] = torch.where(fits, 0, failures[open_masks] + 1)
    return masks | random_masks(missing, rows, columns, generator, besides=masks)


def random_masks(
    num_hidden: Int[Tensor, ' masks'],
    rows: int,
    columns: int,
    generator: torch.Generator,
    besides: Bool[Tensor, 'masks rows columns'] | None = None,
) -> Bool[Tensor, 'masks rows columns']:
    """Masks of exactly ``num_hidden`` single patches each, none of which is True in ``besides``."""
    order = torch.rand(len(num_hidden), rows * columns, generator=generator)
    if besides is not None:
        order += besides.flatten(1)
    rank = order.argsort(dim=1).argsort(dim=1)
    return (rank < num_hidden[:, None]).unflatten(1, (rows, columns))


def _random_blocks(
    largest: Int[Tensor, ' masks'], rows: int, columns: int, generator: torch.Generator, smallest: int, aspect: float
) -> Bool[Tensor, 'masks rows columns']:
    """One rectangle for each mask; none where it is as large as the grid in a direction."""
    area, ratio, top, left = torch.rand(4, len(largest), generator=generator)
    area = smallest + area * (largest - smallest)
    ratio = ((2 * ratio - 1) * math.log(aspect)).exp()
    height, width = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    top, left = (top * (rows - height + 1)).floor(), (left * (columns - width + 1)).floor()
    row, column = torch.arange(rows)[:, None], torch.arange(columns)
    top, left, height, width = (value[:, None, None] for value in (top, left, height, width))
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return inside & (height < rows) & (width < columns)
