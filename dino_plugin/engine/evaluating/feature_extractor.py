"""A frozen backbone as the model of a test config."""

import torch
from jaxtyping import Float, Int
from mmengine.model import BaseModel
from torch import Tensor

from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.features.extraction import first_features, last_blocks, pool
from dino_plugin.registry import MODELS


class FeatureExtractor(BaseModel):
    """Images -> features, for evaluators that take features and labels such as `KNNMetric`.

    Args:
        backbone: Config of a backbone; `tools/test.py` fills in the checkpoint.
        features: `class`, `mean` or `class+mean`, see `pool`.
        last_blocks: Number of last blocks whose class tokens are concatenated.
        share: Only this share of the features of each token, the first ones: for networks that were trained with nested
            heads (`DINOHead(share=...)`), and to see what others lose.
        precision: Precision of the network: `fp32`, `bf16` or `fp16`. Features are always float32.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown, the network has fewer blocks, or the share is not in (0, 1].
    """

    def __init__(
        self,
        backbone: dict,
        features: str = 'class',
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
        last_blocks: int = 1,
        share: float = 1.0,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'{type(self).__name__}: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        if not 0 < share <= 1:
            raise ValueError(f'{type(self).__name__}: share must be above 0 and at most 1, got {share}.')
        self.backbone = MODELS.build(backbone)
        if last_blocks != 1:
            self.backbone.check_last_blocks(last_blocks)
        self.features = features
        self.precision = precision
        self.last_blocks = last_blocks
        self.share = share

    def forward(
        self,
        images: Float[Tensor, 'batch channels rows columns'],
        labels: Int[Tensor, ' batch'] | None = None,
        mode: str = 'tensor',
    ) -> Float[Tensor, 'batch dim'] | list[dict[str, Tensor]]:
        """Features in mode 'tensor'; `[dict(features=..., labels=...)]`, one dict for the batch, in mode 'predict'.

        Raises:
            ValueError: In mode 'loss': there is nothing to train.
        """
        if mode == 'loss':
            name = type(self).__name__
            raise ValueError(f'{name} has no loss: run its config by tools/test.py, not by tools/train.py.')
        dtype = PRECISIONS[self.precision]
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            features = self.extract(images)
        return [dict(features=features, labels=labels)] if mode == 'predict' else features

    def extract(self, images: Float[Tensor, 'batch channels rows columns']) -> Float[Tensor, 'batch dim']:
        """The features of one batch; float32."""
        blocks = last_blocks(self.backbone, images, self.last_blocks)
        if self.share < 1:
            blocks = [first_features(block, self.share) for block in blocks]
        return pool(blocks, self.features)
