"""A decoder of mmsegmentation that says how far each pixel is, in place of its class."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dino_plugin.registry import MODELS

SPACINGS = ('uniform', 'log')
WEIGHTINGS = ('linear', 'softmax', 'sigmoid')


class DepthFromBins(nn.Module):
    """Depth as a mean of K fixed depths, the bins, weighed by the K scores of a decoder.

    depth = sum_k w_k b_k / sum_k w_k
    'linear': w_k = max(scores_k, 0) + 0.1     'softmax': w_k = exp(scores_k)     'sigmoid': w_k = sigmoid(scores_k)

    The decoder is any of mmsegmentation's, whose "classes" are the bins: ``FCNHead`` for a linear probe, ``DPTHead``.
    In a config this is the ``decode_head`` of mmsegmentation's ``DepthEstimator``.

    Args:
        head: Config of the decoder, without ``num_classes``.
        losses: Configs by name, each called with the predicted and the true depths.
        bins: Number of bins K.
        min_depth: The first bin, in metres.
        max_depth: The last one.
        spacing: 'uniform', or 'log' with equal ratios between bins.
        weighting: 'linear', 'softmax' or 'sigmoid'.

    Raises:
        ValueError: If spacing or weighting is unknown, or the range is empty.

    References:
        Bhat et al. 2021, arXiv:2011.14141 (bins); Oquab et al. 2023, arXiv:2304.07193, section 7.4: 256 uniform bins
        and linear weights on frozen features.
    """

    bins: Float[Tensor, ' bins']

    def __init__(
        self,
        head: dict,
        losses: dict[str, dict],
        bins: int = 256,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        spacing: str = 'uniform',
        weighting: str = 'linear',
    ) -> None:
        super().__init__()
        if spacing not in SPACINGS or weighting not in WEIGHTINGS:
            raise ValueError(
                f'DepthFromBins: spacing is one of {SPACINGS} and weighting one of {WEIGHTINGS}; got '
                f'{spacing!r} and {weighting!r}.'
            )
        if not 0 < min_depth < max_depth or bins < 2:
            raise ValueError(
                f'DepthFromBins: two or more bins and 0 < min_depth < max_depth expected, got {bins}, {min_depth} and '
                f'{max_depth} m.'
            )
        self.head = MODELS.build(dict(head, num_classes=bins))
        self.losses = nn.ModuleDict({name: MODELS.build(loss) for name, loss in losses.items()})
        self.weighting = weighting
        ends = torch.tensor([min_depth, max_depth], dtype=torch.float64)
        positions = torch.linspace(0, 1, bins, dtype=torch.float64)
        if spacing == 'log':
            places = torch.lerp(*ends.log(), positions).exp()
        else:
            places = torch.lerp(*ends, positions)
        self.register_buffer('bins', places.float(), persistent=False)
        # What mmsegmentation's estimators ask a decoder for.
        self.align_corners, self.num_classes, self.out_channels = self.head.align_corners, bins, 1

    def forward(self, maps: Sequence) -> Float[Tensor, 'images 1 rows columns']:
        """Depths in metres at the cells of the decoder."""
        scores = self.head(maps).float()
        if self.weighting == 'softmax':
            weights = scores.softmax(dim=1)
        else:
            weights = scores.relu() + 0.1 if self.weighting == 'linear' else scores.sigmoid()
            weights = weights / weights.sum(dim=1, keepdim=True)
        return torch.einsum('ikrc,k->irc', weights, self.bins)[:, None]

    def loss(self, maps: Sequence, samples: Sequence[Any], train_cfg: Any = None) -> dict[str, Tensor]:
        """The losses by name, at the size of the ground truth."""
        truth = torch.stack([sample.gt_depth_map.data for sample in samples]).float()
        predicted = self._enlarged(self(maps), truth.shape[2:])
        return {f'loss_{name}': loss(predicted, truth) for name, loss in self.losses.items()}

    def predict(
        self, maps: Sequence, metas: Sequence[dict], test_cfg: Any = None
    ) -> Float[Tensor, 'images 1 rows columns']:
        """Depths at the size of the images, padding included, or of mmsegmentation's window."""
        meta = metas[0]
        window = isinstance(meta['img_shape'], torch.Size)
        size = meta['img_shape'] if window else meta.get('pad_shape', meta['img_shape'])
        return self._enlarged(self(maps), size[:2])

    def _enlarged(self, depths: Tensor, size: Sequence[int]) -> Tensor:
        return interpolate(depths, tuple(size), mode='bilinear', align_corners=self.align_corners)


class MapsWithoutReadout(nn.Module):
    """A neck for mmsegmentation's ``DPTHead``, which wants each map beside a class token: there is none."""

    def forward(self, maps: Sequence[Tensor]) -> tuple[tuple[Tensor, None], ...]:
        """Pairs of a map and None."""
        return tuple((features, None) for features in maps)
