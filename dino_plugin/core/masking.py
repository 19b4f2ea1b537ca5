"""Masks: how many patches of each view the student does not see, and where they lie."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_ATTEMPTS = 10  # to place a block, as in BEiT
_MAX_ASPECT = 1 / 0.3  # of a block, in either direction


def stratified_ratios(
    num_views: int, share: float, least: float, most: float, generator: torch.Generator, upper_edges: bool = False
) -> Float[Tensor, ' num_views']:
    """Exactly ``int(share * num_views)`` views are masked, with ratios spread evenly over [least, most).

    The range is cut into one equal part for each masked view, and a ratio is drawn from each part. So every batch has
    nearly the same number of masked patches. The order of the views is random.

    Args:
        num_views: Views of all images of the batch.
        share: Share of the views that are masked, in [0, 1].
        least: Smallest share of masked patches in a masked view, in [0, 1].
        most: Largest share, in [0, 1].
        generator: Source of the random numbers.
        upper_edges: Take the upper edge of each part instead of drawing from it. Then every batch has exactly the same
            number of masked patches, and a mean ratio that is larger by half a part: (most - least) / 2 / masked views.

    Returns:
        Share of masked patches of each view; 0 for views without a mask.

    References:
        The collate functions of DINOv2's code, and of DINOv3's (upper edges); the papers do not mention them.
    """
    num_masked_views = int(share * num_views)
    ratios = torch.zeros(num_views)
    if upper_edges:
        ratios[:num_masked_views] = torch.linspace(least, most, num_masked_views + 1)[1:]
    else:
        steps = torch.arange(num_masked_views) + torch.rand(num_masked_views, generator=generator)
        ratios[:num_masked_views] = least + (most - least) * steps / max(1, num_masked_views)
    return ratios[torch.randperm(num_views, generator=generator)]


def independent_ratios(
    num_views: int, share: float, least: float, most: float, generator: torch.Generator
) -> Float[Tensor, ' num_views']:
    """Each view is masked with probability ``share``; its ratio is uniform in [least, most).

    Arguments and result are those of :func:`stratified_ratios`.

    References:
        Zhou et al. 2022 (iBOT), arXiv:2111.07832, section 3.3: probability 0.5, ratio 0.3 ± 0.2.
    """
    ratios = least + (most - least) * torch.rand(num_views, generator=generator)
    return ratios * (torch.rand(num_views, generator=generator) < share)


def block_masks(
    num_masked: Int[Tensor, ' masks'],
    rows: int,
    columns: int,
    generator: torch.Generator,
    min_patches: int = 4,
) -> Bool[Tensor, 'masks rows columns']:
    """Masks of rectangular blocks with exactly ``num_masked`` patches each.

    Blocks are placed at random. Their area is uniform between ``min_patches`` and the number of missing patches, their
    aspect ratio log-uniform. A block is kept if it is smaller than the grid in both directions and adds at least one
    and at most all missing patches. After ten rejected blocks in a row, single patches fill the mask.

    Args:
        num_masked: For each mask, between 0 and rows * columns.
        rows: Of the patch grid.
        columns: Of the patch grid.
        generator: Source of the random numbers.
        min_patches: Area of the smallest blocks, in patches; at least 1. A larger value gives coarser masks.

    Returns:
        True where a patch is masked.

    References:
        Bao et al. 2022 (BEiT), arXiv:2106.08254, algorithm 1, for all masks at once; blocks are kept by the rule of the
        authors' code. There the number may fall short by a few patches; here it is exact, as in DINOv3's code.
    """
    masks = torch.zeros(len(num_masked), rows, columns, dtype=torch.bool)
    missing, misses = num_masked.clone(), torch.zeros_like(num_masked)
    while (unfinished := (missing > 0) & (misses < _ATTEMPTS)).any():
        blocks = _random_blocks(missing, min_patches, rows, columns, generator)
        num_new = (blocks & ~masks).flatten(1).sum(dim=1)
        fits = unfinished & (num_new > 0) & (num_new <= missing)
        masks |= blocks & fits[:, None, None]
        missing -= num_new * fits
        misses = torch.where(fits, 0, misses + 1)
    return masks | random_masks(missing, rows, columns, generator, excluded=masks)


def random_masks(
    num_masked: Int[Tensor, ' masks'],
    rows: int,
    columns: int,
    generator: torch.Generator,
    excluded: Bool[Tensor, 'masks rows columns'] | None = None,
) -> Bool[Tensor, 'masks rows columns']:
    """Masks of exactly ``num_masked`` single patches each, none of them True in ``excluded``."""
    order = torch.rand(len(num_masked), rows * columns, generator=generator)
    if excluded is not None:
        order += excluded.flatten(1)
    rank = order.argsort(dim=1).argsort(dim=1)
    return (rank < num_masked[:, None]).unflatten(1, (rows, columns))


def one_block_masks(
    num_masked: Int[Tensor, ' masks'], rows: int, columns: int, generator: torch.Generator
) -> Bool[Tensor, 'masks rows columns']:
    """Masks of one block each, with exactly ``num_masked`` patches; the last row of a block may end early.

    The block's aspect ratio is log-uniform, as in `block_masks`, within what fits into the grid; its place is random.
    Turned round (``~one_block_masks(rows * columns - num_masked, ...)``) they leave one block for the student to see.

    References:
        Darcet et al. 2025 (CAPI), arXiv:2502.08769: inverse block masks; with other proportions in the code of Franca,
        Venkataramanan et al. 2025, arXiv:2507.14137.
    """
    size = num_masked.double().clamp(min=1)
    place = torch.rand(3, len(num_masked), generator=generator, dtype=torch.float64)
    ratio = _MAX_ASPECT ** (2 * place[0] - 1)
    height = (size * ratio).sqrt().ceil()
    height = height.clamp((size / columns).ceil(), torch.tensor(float(rows)))
    width = (size / height).ceil()
    height = (size / width).ceil()
    top, left = (place[1] * (rows - height + 1)).floor(), (place[2] * (columns - width + 1)).floor()
    row = torch.arange(rows)[:, None] - top[:, None, None]
    column = torch.arange(columns) - left[:, None, None]
    inside = (row >= 0) & (column >= 0) & (column < width[:, None, None])
    return inside & (row * width[:, None, None] + column < num_masked[:, None, None])


def rolled_masks(
    masks: Bool[Tensor, 'masks rows columns'], generator: torch.Generator
) -> Bool[Tensor, 'masks rows columns']:
    """Each mask shifted around its grid, as if the grid's edges were joined, by a random number of rows and columns.

    rolled[m, r, c] = masks[m, (r - a_m) mod rows, (c - b_m) mod columns]      a_m, b_m uniform

    Blocks lie in the middle of the grid more often than at its edges. After rolling every patch is masked equally
    often, so no place is hidden from the student more than others.

    References:
        Venkataramanan et al. 2025 (Franca), arXiv:2507.14137, section on CyclicMask.
    """
    number, rows, columns = masks.shape
    by_rows = torch.randint(rows, (number, 1), generator=generator)
    by_columns = torch.randint(columns, (number, 1), generator=generator)
    row = (torch.arange(rows) - by_rows) % rows
    column = (torch.arange(columns) - by_columns) % columns
    return masks[torch.arange(number)[:, None, None], row[:, :, None], column[:, None, :]]


def _random_blocks(
    largest: Int[Tensor, ' masks'], smallest: int, rows: int, columns: int, generator: torch.Generator
) -> Bool[Tensor, 'masks rows columns']:
    """One rectangle for each mask, with an area between ``smallest`` and ``largest`` patches."""
    area, exponent = torch.rand(2, len(largest), generator=generator)
    area = smallest + area * (largest - smallest)
    ratio = _MAX_ASPECT ** (2 * exponent - 1)
    in_row = _random_intervals((area * ratio).sqrt().round(), rows, generator)
    in_column = _random_intervals((area / ratio).sqrt().round(), columns, generator)
    return in_row[:, :, None] & in_column[:, None, :]


def _random_intervals(
    length: Float[Tensor, ' masks'], size: int, generator: torch.Generator
) -> Bool[Tensor, 'masks {size}']:
    """One interval of an axis for each mask; empty if it would cover the whole axis."""
    start = (torch.rand(len(length), generator=generator) * (size - length + 1)).floor()
    position = torch.arange(size)[:, None]
    return ((position >= start) & (position < start + length) & (length < size)).T
