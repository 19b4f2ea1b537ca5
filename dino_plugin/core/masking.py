"""Which patches are hidden from the student: how many of each view, and where."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_ATTEMPTS = 10  # to place one block, as in BEiT
_MAX_ASPECT = 1 / 0.3  # of a block, in either direction


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
) -> Bool[Tensor, 'masks rows columns']:
    """Masks of rectangular blocks with exactly ``num_hidden`` hidden patches each.

    Blocks of random area (uniform between ``min_patches`` and what is still to be hidden) and random aspect ratio
    (log-uniform) are placed at random. A block is kept if it is smaller than the grid in both directions and hides
    something new, but not more than is still to be hidden. After ten misses in a row single patches make up the number.

    Args:
        num_hidden: For each mask, between 0 and rows * columns.
        rows: Of the patch grid.
        columns: Of the patch grid.
        generator: Source of the random numbers.
        min_patches: Area of the smallest blocks, in patches; at least 1. Larger ones give coarser masks.

    Returns:
        True where a patch is hidden.

    References:
        Bao et al. 2022 (BEiT), arXiv:2106.08254, algorithm 1, one block for all masks at a time; which blocks are kept
        as in the authors' code. There the last few patches stay visible; here the number is exact, as in DINOv3's code.
    """
    masks = torch.zeros(len(num_hidden), rows, columns, dtype=torch.bool)
    missing, misses = num_hidden.clone(), torch.zeros_like(num_hidden)
    while (unfinished := (missing > 0) & (misses < _ATTEMPTS)).any():
        blocks = _random_blocks(missing, min_patches, rows, columns, generator)
        num_new = (blocks & ~masks).flatten(1).sum(dim=1)
        fits = unfinished & (num_new > 0) & (num_new <= missing)
        masks |= blocks & fits[:, None, None]
        missing -= num_new * fits
        misses = torch.where(fits, 0, misses + 1)
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
    largest: Int[Tensor, ' masks'], smallest: int, rows: int, columns: int, generator: torch.Generator
) -> Bool[Tensor, 'masks rows columns']:
    """One rectangle for each mask, of an area between ``smallest`` and ``largest`` patches."""
    area, exponent = torch.rand(2, len(largest), generator=generator)
    area = smallest + area * (largest - smallest)
    ratio = _MAX_ASPECT ** (2 * exponent - 1)
    in_row = _random_intervals((area * ratio).sqrt().round(), rows, generator)
    in_column = _random_intervals((area / ratio).sqrt().round(), columns, generator)
    return in_row[:, :, None] & in_column[:, None, :]


def _random_intervals(
    length: Float[Tensor, ' masks'], size: int, generator: torch.Generator
) -> Bool[Tensor, 'masks {size}']:
    """One stretch of an axis for each mask; nothing where it would be as long as the axis."""
    start = (torch.rand(len(length), generator=generator) * (size - length + 1)).floor()
    position = torch.arange(size)[:, None]
    return ((position >= start) & (position < start + length) & (length < size)).T
