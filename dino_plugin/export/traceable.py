"""A timm network as one function of images that `torch.export` can follow for any image size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn
from torch.nn.functional import pad

from dino_plugin.backbones.creation import averages_patches, pixels_of_a_token

# No shapes stand in the signatures here: to check one while the network is traced would fix the size.


class ImagesToTokens(nn.Module):
    """What `TimmBackbone` computes of a batch: class token and patch grid, as two tensors.

    Images that are no whole number of patches are padded at the bottom and right with zeros, as there.

    Args:
        model: timm's, without classifier, made for images of any size where it can be.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, dim) and (batch, rows, columns, dim) of normalised images (batch, channels, rows, columns)."""
        patch_size = pixels_of_a_token(self.model)
        if patch_size is None:
            features = self.model.forward_features(images)
            pooled = self.model.forward_head(features, pre_logits=True)
            rows_first = getattr(self.model, 'output_fmt', 'NCHW') == 'NHWC'
            return pooled, features if rows_first else features.permute(0, 2, 3, 1)
        rows, columns = ((size + patch - 1) // patch for size, patch in zip(images.shape[2:], patch_size))
        # No `if` for sizes that need no padding: a traced network keeps one branch for all sizes.
        missing = columns * patch_size[1] - images.shape[3], rows * patch_size[0] - images.shape[2]
        tokens = self.model.forward_features(pad(images, (0, missing[0], 0, missing[1])))
        patches = tokens[:, self.model.num_prefix_tokens :].unflatten(1, (rows, columns))
        pooled = averages_patches(self.model)
        return self.model.forward_head(tokens, pre_logits=True) if pooled else tokens[:, 0], patches


@contextmanager
def traceable_positions(model: nn.Module) -> Iterator[None]:
    """Within it, rotary positions are computed for a grid whose size need not be known; learnt ones always are."""
    rope = getattr(model, 'rope', None)
    if type(rope) is not RotaryEmbeddingDinoV3 or rope.normalize_coords != 'separate':
        yield
        return
    with mock.patch.object(rope, 'get_embed', partial(_rotary, rope)):
        yield


def _rotary(rope: RotaryEmbeddingDinoV3, shape: Sequence, dtype: torch.dtype | None = None) -> Tensor:
    """What `get_embed` gives; timm's arange over floats asks for the length when it is traced."""
    along = [2 * ((torch.arange(size) + 0.5 + rope.grid_offset) / size) - 1 for size in shape]
    grid = torch.stack(torch.meshgrid(*along, indexing='ij'), dim=-1).flatten(0, 1)
    embedding = torch.cat(rope._get_pos_embed_from_coords(grid), dim=-1)
    return embedding if dtype is None else embedding.to(dtype)
