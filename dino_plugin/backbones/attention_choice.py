"""The faster of two implementations of attention: PyTorch's fused function, or the formula written out."""

import torch
from torch import Tensor, nn


class AttentionChoice:
    """Chooses the faster implementation of timm's attention; the results are equal within rounding.

    On CPUs in half precision (autocast or the images), softmax(QK') V written out is 1.2 to 1.8 times as fast as
    PyTorch's fused function. Everywhere else the fused function is used, unless timm was told not to fuse attention
    (``timm.layers.set_fused_attn``).

    Args:
        model: From timm.
    """

    def __init__(self, model: nn.Module) -> None:
        self.attentions = [module for module in model.modules() if getattr(module, 'fused_attn', False)]

    def choose_for(self, images: Tensor) -> None:
        """Choose for a forward pass of these images."""
        device = images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype
        fused = device != 'cpu' or dtype not in (torch.bfloat16, torch.float16)
        for attention in self.attentions:
            attention.fused_attn = fused
