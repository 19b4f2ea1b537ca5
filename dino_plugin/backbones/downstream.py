"""The base class of backbones for other OpenMMLab packages."""

from abc import ABC, abstractmethod

from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone


class DownstreamBackbone(nn.Module, ABC):
    """A `TimmBackbone` as the attribute ``backbone``, frozen or not.

    Args:
        frozen: Do not train: no gradients, and the network stays in evaluation mode.
        **backbone: Arguments of `TimmBackbone`.

    Raises:
        ValueError: As in `TimmBackbone`.
    """

    def __init__(self, frozen: bool, **backbone) -> None:
        super().__init__()
        self.backbone = TimmBackbone(**backbone)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.eval()

    @property
    @abstractmethod
    def out_channels(self) -> tuple[int, ...]:
        """Number of channels of each output, in the order of ``forward``."""

    def train(self, mode: bool = True) -> 'DownstreamBackbone':
        """As in PyTorch; a frozen network stays in evaluation mode."""
        return super().train(mode and not self.frozen)
