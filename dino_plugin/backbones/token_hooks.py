"""Changes inside timm's forward pass, by hooks that exist only within a ``with`` block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


@contextmanager
def masked_patches(
    patch_embed: nn.Module,
    mask_token: Float[Tensor, '1 dim'],
    masks: Bool[Tensor, '*leading patch_rows patch_columns'],
) -> Iterator[None]:
    """Within this, the mask token replaces the embeddings of masked patches, before positions are added."""

    def replace(embedding: Tensor, inputs: tuple) -> Tensor:
        masked = masks.reshape(*embedding.shape[:-1], 1)  # some of timm's embeddings keep the grid, some flatten it
        return torch.where(masked, mask_token.to(embedding.dtype), embedding)

    with _changed(patch_embed, replace):
        yield


def can_drop_patches(model: nn.Module, plain_blocks: bool) -> bool:
    """True.

    Raises:
        ValueError: If `dropped_patches` cannot change this network.
    """
    if not plain_blocks or type(model) is not VisionTransformer:
        raise ValueError(
            'TimmBackbone: drop_masked=True needs a plain vision transformer with added positions, unlike this '
            f'{type(model).__name__}; use mask_token=True.'
        )
    return True


@contextmanager
def dropped_patches(model: nn.Module, masks: Bool[Tensor, '*leading patch_rows patch_columns']) -> Iterator[None]:
    """Within this, a `VisionTransformer` of timm computes no masked patch; zeros stand for them in its output.

    Raises:
        ValueError: From the network, if the masks leave different numbers of patches.
    """
    masked = masks.reshape(-1, masks.shape[-2] * masks.shape[-1])
    prefix = model.num_prefix_tokens

    def drop(tokens: Tensor, inputs: tuple) -> Tensor:
        number = (~masked).sum(dim=1)
        if (number != number[0]).any():
            raise ValueError(
                f'drop_masked: the masks leave {int(number.min())} to {int(number.max())} patches, but all views must '
                'keep the same number; set share=1.0 and both ends of ratio to the same value in collate_fn.'
            )
        visible = tokens[:, prefix:][~masked].unflatten(0, (len(masked), -1))
        return torch.cat([tokens[:, :prefix], visible], dim=1)

    def refill(tokens: Tensor, inputs: tuple) -> Tensor:
        patches = tokens.new_zeros(*masked.shape, tokens.shape[-1])
        patches[~masked] = tokens[:, prefix:].flatten(0, 1)
        return torch.cat([tokens[:, :prefix], patches], dim=1)

    with _changed(model.norm_pre, drop), _changed(model.norm, refill):
        yield


@contextmanager
def prefix_normalised_by(local_norm: nn.Module, norm: nn.Module, num_prefix_tokens: int) -> Iterator[None]:
    """Within this, ``local_norm`` normalises class token and registers, ``norm`` the patches."""

    def replace(normalised: Tensor, inputs: tuple) -> Tensor:
        prefix = local_norm(inputs[0][:, :num_prefix_tokens])
        return torch.cat([prefix, normalised[:, num_prefix_tokens:]], dim=1)

    with _changed(norm, replace):
        yield


@contextmanager
def _changed(module: nn.Module, change: Callable[[Tensor, tuple], Tensor]) -> Iterator[None]:
    """Within this, the module's output is ``change(output, inputs)``."""
    handle = module.register_forward_hook(lambda _, inputs, output: change(output, inputs))
    try:
        yield
    finally:
        handle.remove()
