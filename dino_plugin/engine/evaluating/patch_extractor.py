"""A frozen backbone as the model of a test config of patches and masks."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel

from dino_plugin.data.images.label_masks import read_mask
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.features.extraction import stream_patches
from dino_plugin.evaluation.objects.images import ObjectImage
from dino_plugin.evaluation.segmentation.patch_labels import without_ignored
from dino_plugin.registry import MODELS


class PatchExtractor(BaseModel):
    """Image with a mask -> features of its patches and the mask, for `PatchTestLoop`.

    Args:
        backbone: Config of a backbone; `tools/test.py` fills in the checkpoint.
        short_side: Shorter side in pixels of what the network sees. Images are never cropped; the longer side is
            rounded down to whole patches, so an image is stretched by less than a patch.
        ignored: Labels in the masks that say nothing. (255,): 0 is a class such as the background; (0, 255): it is not,
            as in ADE20K.
        precision: Precision of the network: `fp32`, `bf16` or `fp16`. Features are always float32.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown.
    """

    def __init__(
        self,
        backbone: dict,
        short_side: int = 448,
        ignored: Sequence[int] = (255,),
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'PatchExtractor: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        self.backbone = MODELS.build(backbone)
        self.short_side = short_side
        self.ignored = tuple(ignored)
        self.autocast_dtype = PRECISIONS[precision]

    def forward(self, item: ObjectImage, mode: str = 'predict') -> dict[str, Any]:
        """`dict(name=..., patches=..., mask=...)` of one image; ignored labels are 255 in the mask.

        Raises:
            ValueError: In mode 'loss': there is nothing to train. If the image has no mask.
        """
        if mode == 'loss':
            raise ValueError('PatchExtractor has no loss: run its config by tools/test.py, not by tools/train.py.')
        if item.mask_path is None:
            raise ValueError(f'{item.path} has no mask: give masks=FOLDER to the data set.')
        mask = without_ignored(read_mask(item.mask_path, item.max_pixels), self.ignored)
        (patches,) = stream_patches(
            self.backbone, [item.read_image()], self.short_side, 1, self.data_preprocessor, self.autocast_dtype
        )
        return dict(name=item.name, patches=patches, mask=mask)

    def test_step(self, data: Sequence[ObjectImage]) -> list[dict[str, Any]]:
        """One result of `forward` for each image."""
        return [self(item) for item in data]
