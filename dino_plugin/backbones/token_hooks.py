"""What recipes change inside timm's forward pass, for one call: hooks that are there no longer than their context."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@contextmanager
def hidden_patches(
    patch_embed: nn.Module,
    mask_token: Float[Tensor, '1 dim'],
    masks: Bool[Tensor, '*leading patch_rows patch_columns'],
) -> Iterator[None]:
    """Within this, the mask token stands in for the embeddings of hidden patches, before their positions are added."""

    def hide(embedding: Tensor, inputs: tuple) -> Tensor:
        hidden = masks.reshape(*embedding.shape[:-1], 1)  # timm's embedding keeps its grid, or not
        return torch.where(hidden, mask_token.to(embedding.dtype), embedding)

    with _changed(patch_embed, hide):
        yield


@contextmanager
def prefix_normalised_by(local_norm: nn.Module, norm: nn.Module, num_prefix_tokens: int) -> Iterator[None]:
    """Within this, class token and registers go through ``local_norm``, the patches through ``norm`` as ever."""

    def untie(normalised: Tensor, inputs: tuple) -> Tensor:
        prefix = local_norm(inputs[0][:, :num_prefix_tokens])
        return torch.cat([prefix, normalised[:, num_prefix_tokens:]], dim=1)

    with _changed(norm, untie):
        yield


@contextmanager
def _changed(module: nn.Module, change: Callable[[Tensor, tuple], Tensor]) -> Iterator[None]:
    """Within this, the module gives ``change(output, inputs)``."""
    handle = module.register_forward_hook(lambda _, inputs, output: change(output, inputs))
    try:
        yield
    finally:
        handle.remove()
