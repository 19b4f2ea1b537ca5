"""A timm network as one function of images that `torch.export` can follow for any image size."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    """Within it, the positions of patches are computed for a grid whose size need not be known."""
    with ExitStack() as stack:
        module = sys.modules[type(model).__module__]
        if hasattr(module, 'resample_abs_pos_embed'):
            stack.enter_context(mock.patch.object(module, 'resample_abs_pos_embed', resampled_positions))
        rope = getattr(model, 'rope', None)
        if type(rope) is RotaryEmbeddingDinoV3 and rope.normalize_coords == 'separate':
            stack.enter_context(mock.patch.object(rope, 'get_embed', partial(_rotary, rope)))
        yield


def resampled_positions(
    positions: Tensor, new_size: Sequence, old_size: Sequence[int], num_prefix_tokens: int = 1
) -> Tensor:
    """timm's `resample_abs_pos_embed`: PyTorch's antialiased bicubic interpolation, as a product of matrices.

    ONNX's Resize and PyTorch's guards know no such interpolation for a size that is not known yet.

    Args:
        positions: (1, prefix tokens and patches of the old grid, dim).
        new_size: Rows and columns of patches; numbers, or symbols while tracing.
        old_size: Likewise, of `positions`.
        num_prefix_tokens: Which keep their positions.
    """
    prefix, patches = positions[:, :num_prefix_tokens], positions[0, num_prefix_tokens:]
    rows, columns = (_bicubic(old, new) for old, new in zip(old_size, new_size))
    patches = torch.einsum('no,ocd->ncd', rows, patches.unflatten(0, tuple(old_size)))
    patches = torch.einsum('no,rod->rnd', columns, patches)
    return torch.cat([prefix, patches.flatten(0, 1)[None]], dim=1)


def _bicubic(old: int, new: int | torch.SymInt) -> Tensor:
    """(new, old): the weight of each old place in each new one, by Keys' kernel with a = -1/2.

    Where the grid becomes smaller, the kernel becomes as much wider (antialiasing). What it cuts off at the edges, the
    rest makes up for.
    """
    step = old / new  # places of the old grid from one new place to the next
    centres = (torch.arange(new) + 0.5) * step
    width = torch.full((1,), step).clamp(min=1)  # a tensor, since a comparison of symbols would be decided for good
    distance = ((torch.arange(old) + 0.5 - centres[:, None]) / width).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
    return weights / weights.sum(dim=1, keepdim=True)


def _rotary(rope: RotaryEmbeddingDinoV3, shape: Sequence, dtype: torch.dtype | None = None) -> Tensor:
    """What `get_embed` gives; timm's arange over floats asks for the length when it is traced."""
    along = [2 * ((torch.arange(size) + 0.5 + rope.grid_offset) / size) - 1 for size in shape]
    grid = torch.stack(torch.meshgrid(*along, indexing='ij'), dim=-1).flatten(0, 1)
    embedding = torch.cat(rope._get_pos_embed_from_coords(grid), dim=-1)
    return embedding if dtype is None else embedding.to(dtype)
