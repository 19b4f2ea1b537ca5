"""Preparing images for a network: padding to whole patches, one leading axis, checks."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def padded(
    images: Float[Tensor, 'batch channels rows columns'], patch_size: tuple[int, int]
) -> Float[Tensor, 'batch channels _ _']:
    """Images padded to whole patches with zeros at the bottom and right."""
    rows, columns = (-size % patch for size, patch in zip(images.shape[2:], patch_size))
    return pad(images, (0, columns, 0, rows)) if rows or columns else images  # pad would copy


def grid_of(images: Float[Tensor, '*leading channels rows columns'], patch_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches, after padding."""
    return -(-images.shape[-2] // patch_size[0]), -(-images.shape[-1] // patch_size[1])


def with_leading_of(images: Float[Tensor, '*leading _ _ _'], tokens: Float[Tensor, 'batch *rest']) -> Tensor:
    """Tokens with one leading axis, given the leading axes of the images."""
    leading = images.shape[:-3]
    return tokens.unflatten(0, leading) if leading else tokens[0]


def check_channels(images: Tensor, expected: int) -> None:
    """Raises: ValueError: If the images have another number of channels."""
    if images.shape[-3] != expected:
        raise ValueError(
            f'TimmBackbone: images of {images.shape[-3]} channels for a network of {expected}; '
            f'build it with in_chans={images.shape[-3]}.'
        )


def check_masks(masks: Tensor, images: Tensor, patch_size: tuple[int, int]) -> None:
    """Raises: ValueError: If there is not one mask for each image, with one entry for each patch."""
    patches = (*images.shape[:-3], *grid_of(images, patch_size))
    if masks.shape != patches:
        raise ValueError(
            f'TimmBackbone: masks of {tuple(masks.shape)} for images of {patches} patches; give one mask for each '
            f'image, and set patch_size={patch_size} in collate_fn.'
        )
