"""A backbone for configs of mmsegmentation and mmdetection: images -> tuple of feature maps."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from dino_plugin.backbones.downstream import DownstreamBackbone
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.kept_outputs import KeptOutputs
from dino_plugin.core.views import Tokens

PYRAMID = 'pyramid'
EVEN = 'even'


class TimmFeatureMaps(DownstreamBackbone):
    """Feature maps of a timm network, for images of any size.

    In a config of mmsegmentation that imports nothing of ours::

        backbone=dict(type='dino_plugin.TimmFeatureMaps', checkpoint='epoch_100.pth', out_indices='pyramid')

    A transformer's maps have one cell for each patch, a convolutional network's have the size of its stages. Decoders
    resize maps to the size of the image, so after padding to whole patches the map is resampled bilinearly to cover the
    image only.

    Args:
        out_indices: Layers (blocks, or stages of a convolutional network) that give a map; negative numbers count from
            the end. A transformer's last normalisation is applied to each map. 'pyramid' means four layers: a
            transformer's blocks after a third, a half, two thirds and all, as in BEiT (3, 5, 7, 11 of 12 blocks, 7, 11,
            15, 23 of 24), or a convolutional network's last four stages. 'even': four layers at equal distances, the
            last one among them (2, 5, 8, 11 of 12).
        frozen: Do not train: no gradients, and the network stays in evaluation mode.
        class_token: Concatenate the class token to each cell, which doubles the channels.
        normalised: False: a transformer's maps as its blocks give them, without its last normalisation.
        keep: Maps of up to so many images are computed once, see `KeptOutputs`: for a frozen network, few images and
            no augmentation but flips. Maps are 0.6 MB for each 100 patches of four layers of ViT-S.
        **backbone: Arguments of `TimmBackbone`: `model_name`, `checkpoint`, `pretrained`, `drop_path_rate`… A mismatch
            between checkpoint and network is an error; mmengine's `init_cfg` only logs it.

    Raises:
        ValueError: If `out_indices` is empty or names a layer twice, if maps of a network that trains are kept, or as
            in `TimmBackbone`.
    """

    def __init__(
        self,
        out_indices: Sequence[int] | str = (-1,),
        frozen: bool = False,
        class_token: bool = False,
        normalised: bool = True,
        keep: int = 0,
        **backbone,
    ) -> None:
        super().__init__(frozen, **backbone)
        if keep and not frozen:
            raise ValueError(f'{type(self).__name__}: keep is for a network that does not train: frozen=True.')
        self._kept = KeptOutputs(keep) if keep else None
        self.out_indices = _positions(out_indices, self.backbone)
        self.class_token, self.normalised = class_token, normalised

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the maps, in the order of `out_indices`."""
        joined = 2 if self.class_token else 1
        return tuple(self.backbone.model.feature_info[index]['num_chs'] * joined for index in self.out_indices)

    def forward(self, images: Float[Tensor, 'batch channels rows columns']) -> tuple[Tensor, ...]:
        """Maps `batch dim rows columns`, in the order of `out_indices`."""
        return self._maps(images) if self._kept is None else tuple(self._kept(self._maps, images))

    def _maps(self, images: Float[Tensor, 'batch channels rows columns']) -> tuple[Tensor, ...]:
        found = self.backbone.intermediates(images, sorted(self.out_indices), self.normalised)
        by_layer = dict(zip(sorted(self.out_indices), found))
        return tuple(self._map(by_layer[index], images) for index in self.out_indices)

    def _map(self, tokens: Tokens, images: Tensor) -> Tensor:
        patches = tokens.patches
        if self.class_token:
            everywhere = tokens.class_token[:, None, None].expand_as(patches)
            patches = torch.cat([everywhere, patches], dim=-1)
        features = patches.permute(0, 3, 1, 2).contiguous()
        if self.backbone.patch_size is None:
            return features
        return without_padding(features, images.shape[2:], self.backbone.patch_size)


class BatchNormMaps(nn.Module):
    """A neck that batch-normalises each map; followed by a 1x1 convolution, it is the linear probe of DINOv2.

    Args:
        channels: Number of channels of each map.

    References:
        Oquab et al. 2023, arXiv:2304.07193, section 7.4; the normalisation is in their published heads.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(number) for number in channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The batch-normalised maps.

        Raises:
            ValueError: If the number of maps or of their channels differs.
        """
        given, expected = [features.shape[1] for features in maps], [norm.num_features for norm in self.norms]
        if given != expected:
            raise ValueError(
                f'BatchNormMaps: maps with {given} channels, but channels={expected}. Set model.neck.channels={given}, '
                'and set model.decode_head.in_channels and model.decode_head.channels to the same width; or write '
                "'widths' there and build the model with dino_plugin.WidthFromBackbone, which fills them in."
            )
        return tuple(norm(features) for norm, features in zip(self.norms, maps))


def _positions(out_indices: Sequence[int] | str, backbone: TimmBackbone) -> list[int]:
    """The layers, counted from 0."""
    num_layers = len(backbone.model.feature_info)
    layers = (
        _four(num_layers, backbone.patch_size is not None, out_indices)
        if out_indices in (PYRAMID, EVEN)
        else out_indices
    )
    known = not isinstance(layers, str) and all(-num_layers <= index < num_layers for index in layers)
    positions = [index % num_layers for index in layers] if known else []
    if not positions or len(set(positions)) < len(positions):
        raise ValueError(
            f'TimmFeatureMaps: out_indices={out_indices!r} must be one or more different layers of 0 to '
            f"{num_layers - 1}, or 'pyramid' or 'even', which need four; {backbone.description['model_name']} has "
            f'{num_layers}.'
        )
    return positions


def _four(num_layers: int, is_transformer: bool, name: str) -> list[int]:
    if not is_transformer:
        return list(range(num_layers - 4, num_layers))
    shares = (1 / 3, 1 / 2, 2 / 3, 1) if name == PYRAMID else (1 / 4, 1 / 2, 3 / 4, 1)
    return [round(num_layers * share) - 1 for share in shares]


def without_padding(
    features: Float[Tensor, 'batch dim rows columns'], image_size: Sequence[int], patch_size: tuple[int, int]
) -> Float[Tensor, 'batch dim rows columns']:
    """The map resampled to the same number of cells over the image without its padding.

    Args:
        features: Map of an image that was padded at the bottom and right.
        image_size: Rows and columns of the image without padding.
        patch_size: Pixels of a cell.
    """
    shares = [size / (cells * patch) for size, cells, patch in zip(image_size, features.shape[2:], patch_size)]
    if shares == [1, 1]:
        return features
    rows, columns = shares
    # In grid_sample's coordinates the padded map reaches from -1 to 1, the image from -1 to 2 * share - 1.
    window = features.new_tensor([[columns, 0, columns - 1], [0, rows, rows - 1]])
    grid = affine_grid(window.expand(len(features), 2, 3), list(features.shape), align_corners=False)
    return grid_sample(features, grid, padding_mode='border', align_corners=False)
