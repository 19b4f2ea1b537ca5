"""One feature map that joins layers, and the image seen near and far, for detectors on a frozen network."""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from dino_plugin.backbones.feature_maps import EVEN, TimmFeatureMaps, without_padding


class TimmJoinedMaps(TimmFeatureMaps):
    """The maps of several layers, concatenated on channels; with windows, of the image cut in n x n parts and whole.

    Each window is an image of its own to the network, so patches see no further than their window; the whole image,
    resized to one window, shows what is around. Both maps are concatenated on channels, which doubles them. So a
    network trained on small images sees large ones at a size it knows.

    Args:
        windows: Number n of windows along each side; 1: the whole image alone. The image is padded with zeros, at the
            bottom and right, to windows of whole patches.
        **maps: Arguments of `TimmFeatureMaps`. Here layers are 'even', and not normalised.

    Raises:
        ValueError: If windows are less than 1, or more with a network without patches; or as in `TimmFeatureMaps`.

    References:
        Simeoni et al. 2025, arXiv:2508.10104: four layers, windows of a frozen network, for its detector.
    """

    def __init__(self, windows: int = 1, **maps) -> None:
        super().__init__(**dict(dict(out_indices=EVEN, normalised=False), **maps))
        self.windows = windows
        if windows < 1 or (windows > 1 and self.backbone.patch_size is None):
            raise ValueError(
                f'TimmJoinedMaps: windows={windows!r} is a number from 1 on, and 1 for a network without patches, such '
                f'as a convolutional one; the network is {self.backbone.description["model_name"]}.'
            )

    @property
    def out_channels(self) -> tuple[int]:
        """Channels of the one map."""
        return (sum(super().out_channels) * (2 if self.windows > 1 else 1),)

    def _maps(self, images: Float[Tensor, 'batch channels rows columns']) -> tuple[Tensor]:
        return (self._in_windows(images),)

    def _in_windows(self, images: Tensor) -> Tensor:
        if self.windows == 1:
            return self._joined(images)
        n, patch, size = self.windows, self.backbone.patch_size, images.shape[2:]
        window = [ceil(pixels / (n * side)) * side for pixels, side in zip(size, patch)]
        rows, columns = (n * pixels - given for pixels, given in zip(window, size))
        padded = pad(images, (0, columns, 0, rows))
        cut = padded.unflatten(3, (n, -1)).unflatten(2, (n, -1))  # image channel row-of-windows row column-of-w. column
        near = self._joined(cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2))
        near = near.unflatten(0, (-1, n, n)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        far = self._joined(interpolate(padded, window, mode='bilinear', antialias=True))
        far = interpolate(far, near.shape[2:], mode='bilinear')
        return without_padding(torch.cat([near, far], dim=1), size, patch)

    def _joined(self, images: Tensor) -> Tensor:
        return torch.cat(super()._maps(images), dim=1)
