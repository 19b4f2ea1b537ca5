"""Rotary positions that are computed once for each patch grid instead of at each forward pass."""

from collections.abc import Sequence

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn

_GRIDS = 8  # of as many sizes; training has two or three, images of all sizes must not fill the memory


class RememberedPositions:
    """Stands in the place of ``get_embed`` of timm's rotary positions, and gives what that gives.

    timm builds the grid on the host and copies it to the device at each forward pass, for which the host waits until
    all work before it is done. Random coordinates (``rope_rescale_coords`` and others, in training) are drawn anew.

    Args:
        rope: Of a network whose images may have any size.
    """

    def __init__(self, rope: RotaryEmbeddingDinoV3) -> None:
        self.rope = rope
        self.known: dict[tuple, Tensor] = {}

    def __call__(self, shape: Sequence[int] | None = None, **options) -> Tensor:
        """Sines and cosines of the angles at each place of the grid; newer versions of timm name a ``dtype``."""
        compute = type(self.rope).get_embed
        if shape is None or (self.rope.training and self.rope.aug_active):
            return compute(self.rope, shape, **options)
        key = (*shape, *options.values(), self.rope.periods.dtype, self.rope.periods.device)
        if key not in self.known:
            if len(self.known) == _GRIDS:
                self.known.pop(next(iter(self.known)))
            with torch.inference_mode(False):  # else training could not use what an evaluation computed
                self.known[key] = compute(self.rope, shape, **options)
        return self.known[key]


def remember_positions(model: nn.Module) -> None:
    """Let DINOv3's rotary positions be :class:`RememberedPositions`; other networks stay as they are."""
    rope = getattr(model, 'rope', None)
    if type(rope) is RotaryEmbeddingDinoV3:
        rope.get_embed = RememberedPositions(rope)
