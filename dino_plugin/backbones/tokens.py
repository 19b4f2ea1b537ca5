"""Images into a timm network, tokens out of it: channels, padding, patch grid, masks, class token."""

from typing import Any

from jaxtyping import Float
from timm.layers import to_2tuple
from torch import Tensor, nn
from torch.nn.functional import pad

UNUSED = (nn.Identity, type(None))


def channels_of(model: nn.Module) -> int:
    """Number of image channels."""
    return next(weight.shape[1] for weight in model.parameters() if weight.ndim == 4)


def patch_size_of(model: nn.Module) -> tuple[int, int] | None:
    """Rows and columns of pixels of one patch; None for networks that give a feature map."""
    if not hasattr(model, 'num_prefix_tokens'):
        return None
    embed: Any = model.patch_embed
    # Behind a convolutional stem, timm's patch_size counts cells of the stem's output.
    return to_2tuple(embed.feat_ratio(as_scalar=False) if hasattr(embed, 'feat_ratio') else embed.patch_size)


def averages_patches(model: nn.Module) -> bool:
    """Whether a transformer's vector for the image is the mean of its patches instead of a class token.

    timm then normalises after the mean instead of before.
    """
    return model.num_prefix_tokens == 0 or not isinstance(getattr(model, 'fc_norm', None), UNUSED)


def class_token_and_patches(model: nn.Module, images: Tensor, grid: tuple | None) -> tuple[Tensor, Tensor]:
    """(batch, dim) and (batch, rows, columns, dim) of images (batch, channels, rows, columns) of whole patches.

    Args:
        model: From timm, without classifier.
        images: Normalised.
        grid: Rows and columns of patches; None for networks that give a feature map.
    """
    # The signature has no shapes: checking them while `torch.export` traces would fix the image size.
    features = model.forward_features(images)
    if grid is None:
        rows_first = getattr(model, 'output_fmt', 'NCHW') == 'NHWC'
        return model.forward_head(features, pre_logits=True), features if rows_first else features.permute(0, 2, 3, 1)
    pooled = averages_patches(model)
    class_token = model.forward_head(features, pre_logits=True) if pooled else features[:, 0]
    return class_token, features[:, model.num_prefix_tokens :].unflatten(1, grid)


def grid_of(images: Tensor, patch_size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Rows and columns of patches, after padding; None without patches."""
    if patch_size is None:
        return None
    return -(-images.shape[-2] // patch_size[0]), -(-images.shape[-1] // patch_size[1])


def flattened_and_padded(
    images: Float[Tensor, '*leading channels rows columns'],
    masks: Tensor | None,
    channels: int,
    patch_size: tuple[int, int] | None,
) -> Float[Tensor, 'batch channels _ _']:
    """Images with one leading axis, padded to whole patches with zeros at the bottom and right.

    Raises:
        ValueError: If the images have other channels, or there is not one mask for each image and patch.
    """
    if images.shape[-3] != channels:
        raise ValueError(
            f'TimmBackbone: images of {images.shape[-3]} channels for a network of {channels}; '
            f'build it with in_chans={images.shape[-3]}.'
        )
    grid = grid_of(images, patch_size)
    if masks is not None and masks.shape != (expected := (*images.shape[:-3], *grid)):
        raise ValueError(
            f'TimmBackbone: masks of {tuple(masks.shape)} for images of {expected} patches; give one mask for each '
            f'image, and set patch_size={patch_size} in collate_fn.'
        )
    images = images.reshape(-1, *images.shape[-3:])
    rows, columns = (-size % patch for size, patch in zip(images.shape[2:], patch_size or (1, 1)))
    return pad(images, (0, columns, 0, rows)) if rows or columns else images  # pad would copy


def with_leading_of(images: Float[Tensor, '*leading _ _ _'], tokens: Float[Tensor, 'batch *rest']) -> Tensor:
    """Tokens with one leading axis, given the leading axes of the images."""
    leading = images.shape[:-3]
    return tokens.unflatten(0, leading) if leading else tokens[0]
