"""Inputs and outputs of a timm network: image channels, pixels of a patch, class token and patch tokens."""

from typing import Any

from timm.layers import to_2tuple
from torch import Tensor, nn

UNUSED = (nn.Identity, type(None))

# The signatures have no shapes here: checking them while `torch.export` traces would fix the image size.


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
    features = model.forward_features(images)
    if grid is None:
        rows_first = getattr(model, 'output_fmt', 'NCHW') == 'NHWC'
        return model.forward_head(features, pre_logits=True), features if rows_first else features.permute(0, 2, 3, 1)
    pooled = averages_patches(model)
    class_token = model.forward_head(features, pre_logits=True) if pooled else features[:, 0]
    return class_token, features[:, model.num_prefix_tokens :].unflatten(1, grid)
