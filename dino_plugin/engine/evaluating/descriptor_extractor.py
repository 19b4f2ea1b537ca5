"""A frozen backbone that describes images for search."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.engine.evaluating.feature_extractor import FeatureExtractor
from dino_plugin.evaluation.retrieval.descriptors import describe


class DescriptorExtractor(FeatureExtractor):
    """Images -> descriptors, for `ClassRetrievalMetric` and its like: generalised means and several scales.

    Args:
        backbone: Config of a backbone; `tools/test.py` fills in the checkpoint.
        features: `class`, `mean`, `class+mean`, `gem` or `class+gem`, see `describe`.
        power: Of the generalised mean.
        scales: Factors by which images are resized (bilinear); descriptors are averaged over them. DINO's evaluation of
            Paris has 1, 0.7071 and 0.5.
        precision: Precision of the network: `fp32`, `bf16` or `fp16`. Descriptors are always float32.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown, or a scale is not positive.
    """

    def __init__(
        self,
        backbone: dict,
        features: str = 'class',
        power: float = 4.0,
        scales: Sequence[float | int] = (1,),
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(backbone, features, precision, data_preprocessor)
        if not scales or min(scales) <= 0:
            raise ValueError(f'DescriptorExtractor: scales are factors above 0, got {scales!r}.')
        self.power = power
        self.scales = tuple(scales)

    def extract(self, images: Float[Tensor, 'batch channels rows columns']) -> Float[Tensor, 'batch dim']:
        """The descriptors of one batch, averaged over the scales."""
        found = [describe(self.backbone(_scaled(images, scale)), self.features, self.power) for scale in self.scales]
        return torch.stack(found).mean(dim=0)


def _scaled(
    images: Float[Tensor, 'batch channels _ _'], scale: float | int
) -> Float[Tensor, 'batch channels rows columns']:
    return images if scale == 1 else interpolate(images, scale_factor=scale, mode='bilinear', align_corners=False)
