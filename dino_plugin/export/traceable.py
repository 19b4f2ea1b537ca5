"""A timm network as one function of images that `torch.export` can trace for any image size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn
from torch.nn.functional import pad

from dino_plugin.backbones.tokens import class_token_and_patches, patch_size_of

# The signatures have no shapes here: checking them while tracing would fix the image size.


class ImagesToTokens(nn.Module):
    """The outputs of `TimmBackbone`, class token and patches, as two tensors.

    Images are padded to whole patches with zeros at the bottom and right, as there.

    Args:
        model: From timm, without classifier, built for images of any size if possible.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From normalised images (batch, channels, rows, columns) to (batch, dim) and (batch, rows, columns, dim)."""
        patch_size = patch_size_of(self.model)
        if patch_size is None:
            return class_token_and_patches(self.model, images, None)
        rows, columns = ((size + patch - 1) // patch for size, patch in zip(images.shape[2:], patch_size))
        # No `if` for sizes that need no padding: a traced network keeps one branch for all sizes.
        missing = columns * patch_size[1] - images.shape[3], rows * patch_size[0] - images.shape[2]
        return class_token_and_patches(self.model, pad(images, (0, missing[0], 0, missing[1])), (rows, columns))


@contextmanager
def traceable_positions(model: nn.Module) -> Iterator[None]:
    """Within this, rotary positions can be traced for a grid of any size; learnt positions can be anyway."""
    rope = getattr(model, 'rope', None)
    if type(rope) is not RotaryEmbeddingDinoV3 or rope.normalize_coords != 'separate':
        yield
        return
    with mock.patch.object(rope, 'get_embed', partial(_rotary, rope)):
        yield


def _rotary(rope: RotaryEmbeddingDinoV3, shape: Sequence, dtype: torch.dtype | None = None) -> Tensor:
    """Like `get_embed`; timm's own fixes the size when traced, by an arange over floats."""
    along = [2 * ((torch.arange(size) + 0.5 + rope.grid_offset) / size) - 1 for size in shape]
    grid = torch.stack(torch.meshgrid(*along, indexing='ij'), dim=-1).flatten(0, 1)
    embedding = torch.cat(rope._get_pos_embed_from_coords(grid), dim=-1)
    return embedding if dtype is None else embedding.to(dtype)
