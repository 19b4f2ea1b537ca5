"""A frozen transformer as the model of a test config of attention."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel

from dino_plugin.backbones.attention_maps import number_of_blocks
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.attention.images import heads_of_image
from dino_plugin.evaluation.objects.images import ObjectImage
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
        number_of_blocks(self.backbone)  # refuses a network without attention before an image is read
        self.blocks = blocks
        self.short_side = short_side
        self.attended_distances = attended_distances
        self.autocast_dtype = PRECISIONS[precision]

    def forward(self, item: ObjectImage, mode: str = 'predict') -> dict[str, Any]:
        """`dict(name=..., maps=..., heads=..., attended_distances=..., labels=...)` of one image.

        Heads of all blocks follow each other; `heads` names them `block.head`. Labels are None without a mask.

        Raises:
            ValueError: In mode 'loss': there is nothing to train.
        """
        if mode == 'loss':
            raise ValueError('AttentionExtractor has no loss: run its config by tools/test.py, not by tools/train.py.')
        found = heads_of_image(
            self.backbone, item.read_image(), self.blocks, self.short_side, self.attended_distances,
            self.data_preprocessor, self.autocast_dtype,
        )  # fmt: skip
        labels = None if item.mask_path is None else item.read_labels()
        return dict(
            name=item.name,
            maps=found.maps,
            heads=found.names,
            attended_distances=found.attended_distances,
            labels=labels,
        )

    def test_step(self, data: Sequence[ObjectImage]) -> list[dict[str, Any]]:
        """One result of `forward` for each image."""
        return [self(item) for item in data]
