"""A cache of rotary positions: computed once for each patch grid, not in each forward pass."""

from collections.abc import Sequence

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn

_GRIDS = 8  # limit of the cache; training has two or three grids


class CachedRotaryPositions:
    """Replaces ``get_embed`` of timm's rotary positions by the same function with a cache.

    timm builds the grid on the host and copies it to the device in each forward pass, and the host waits for the device
    then. Random coordinates (``rope_rescale_coords`` and others, in training) are drawn anew each time.

    Args:
        rope: Of a network for images of any size.
    """

    def __init__(self, rope: RotaryEmbeddingDinoV3) -> None:
        self.rope = rope
        self.cached: dict[tuple, Tensor] = {}

    def __call__(self, shape: Sequence[int] | None = None, **options) -> Tensor:
        """Sines and cosines of the angles at each position; newer versions of timm pass a ``dtype``."""
        compute = type(self.rope).get_embed
        if shape is None or (self.rope.training and self.rope.aug_active):
            return compute(self.rope, shape, **options)
        key = (*shape, *options.values(), self.rope.periods.dtype, self.rope.periods.device)
        if key not in self.cached:
            if len(self.cached) == _GRIDS:
                self.cached.pop(next(iter(self.cached)))
            with torch.inference_mode(False):  # else training could not use tensors from an evaluation
                self.cached[key] = compute(self.rope, shape, **options)
        return self.cached[key]


def cache_rotary_positions(model: nn.Module) -> None:
    """Use :class:`CachedRotaryPositions` in networks with DINOv3's rotary positions; others stay unchanged."""
    rope = getattr(model, 'rope', None)
    if type(rope) is RotaryEmbeddingDinoV3:
        rope.get_embed = CachedRotaryPositions(rope)
