"""A frozen transformer as the model of a test config of attention."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel

from dino_plugin.backbones.attention_maps import number_of_blocks
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.attention.heads import attended_distance
from dino_plugin.evaluation.attention.images import attention_of_image
from dino_plugin.evaluation.objects import ObjectImage
from dino_plugin.registry import MODELS


class AttentionExtractor(BaseModel):
    """Image -> attention of the class token, for `AttentionJaccardMetric` and `HeadMetric`.

    Args:
        backbone: Config of a backbone; `tools/test.py` fills in the checkpoint.
        blocks: Places of the blocks, negative ones from the end; None: all.
        short_side: Shorter side in pixels of what the network sees; images keep their proportions.
        attended_distances: Compute `attended_distance`, too, which needs the attention of all patches.
        precision: Precision of the network: `fp32`, `bf16` or `fp16`. Attention is always computed in float32.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown, or the network has no attention of this kind.
    """

    def __init__(
        self,
        backbone: dict,
        blocks: Sequence[int] | None = (-1,),
        short_side: int = 480,
        attended_distances: bool = False,
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'AttentionExtractor: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        self.backbone = MODELS.build(backbone)
        number = number_of_blocks(self.backbone)
        self.blocks = list(range(number)) if blocks is None else list(blocks)
        self.short_side = short_side
        self.attended_distances = attended_distances
        self.autocast_dtype = PRECISIONS[precision]

    @torch.no_grad()
    def forward(self, item: ObjectImage, mode: str = 'predict') -> dict[str, Any]:
        """`dict(name=..., maps=..., heads=..., attended_distances=..., labels=...)` of one image.

        Heads of all blocks follow each other; `heads` names them `block.head`. Labels are None without a mask.

        Raises:
            ValueError: In mode 'loss': there is nothing to train.
        """
        if mode == 'loss':
            raise ValueError('AttentionExtractor has no loss: run its config by tools/test.py, not by tools/train.py.')
        found = attention_of_image(
            self.backbone, item.read_image(), self.blocks, self.short_side, self.data_preprocessor, self.autocast_dtype
        )
        number = number_of_blocks(self.backbone)
        maps = [block.class_maps()[0] for block in found]
        return dict(
            name=item.name,
            maps=torch.cat(maps),
            heads=[f'{place % number}.{head}' for place, one in zip(self.blocks, maps) for head in range(len(one))],
            attended_distances=torch.cat([attended_distance(block)[0] for block in found])
            if self.attended_distances
            else None,
            labels=None if item.mask_path is None else item.read_labels(),
        )

    def test_step(self, data: Sequence[ObjectImage]) -> list[dict[str, Any]]:
        """One result of `forward` for each image."""
        return [self(item) for item in data]
