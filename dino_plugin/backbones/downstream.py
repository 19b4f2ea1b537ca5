"""What the backbones for other OpenMMLab packages share."""

from abc import ABC, abstractmethod

from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone


class DownstreamBackbone(nn.Module, ABC):
    """A `TimmBackbone` under the name ``backbone``, frozen or not.

    Args:
        frozen: Do not train: no gradients, and the network stays in evaluation mode.
        **backbone: Of `TimmBackbone`.

    Raises:
        ValueError: For mmengine's ``init_cfg``, which only logs mismatches, or as in `TimmBackbone`.
    """

    def __init__(self, frozen: bool, **backbone) -> None:
        super().__init__()
        if backbone.pop('init_cfg', None):
            raise ValueError(
                f'{type(self).__name__}: give the weights by checkpoint=PATH (or pretrained=True), not by init_cfg.'
            )
        self.backbone = TimmBackbone(**backbone)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.eval()

    @property
    @abstractmethod
    def out_channels(self) -> tuple[int, ...]:
        """Widths of what ``forward`` gives, in its order."""

    def train(self, mode: bool = True) -> 'DownstreamBackbone':
        """As in PyTorch; a frozen network stays as it is."""
        return super().train(mode and not self.frozen)
