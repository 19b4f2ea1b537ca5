"""Masks of pixels on a grid of patches: how many pixels of each object a patch holds."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def count_in_patches(
    masks: Bool[Tensor, '*leading rows columns'], grid: tuple[int, int]
) -> Float[Tensor, '*leading patch_rows patch_columns']:
    """Number of the masks' pixels in each patch, as float64.

    The grid lies over the whole image. A pixel belongs to the patch at its centre, as when a map is enlarged to the
    image by nearest neighbour, so sums over patches are sums over pixels, and nothing need be enlarged.

    Args:
        masks: True for pixels to count.
        grid: Rows and columns of patches.

    Raises:
        ValueError: If a side of the masks has fewer pixels than patches.
    """
    sizes = masks.shape[-2:]
    if any(size < patches for size, patches in zip(sizes, grid)):
        raise ValueError(
            f'masks of {sizes[0]} x {sizes[1]} pixels (rows x columns) for {grid[0]} x {grid[1]} patches: give masks '
            'of the size of the image.'
        )
    rows, columns = (_members(size, patches, masks.device) for size, patches in zip(sizes, grid))
    return rows @ masks.double() @ columns.T


def _members(size: int, patches: int, device: torch.device) -> Shaped[Tensor, 'patches pixels']:
    """1 where a pixel of one axis belongs to a patch."""
    pixels = torch.arange(size, device=device)
    places = ((2 * pixels + 1) * patches) // (2 * size)
    return (places == torch.arange(patches, device=device)[:, None]).double()
