"""A frozen backbone that looks for objects, as the model of a test config."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel

from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.discovery.features import patch_features
from dino_plugin.evaluation.discovery.find import check_method, find_objects
from dino_plugin.evaluation.objects.images import ObjectImage
from dino_plugin.registry import MODELS


class ObjectFinder(BaseModel):
    """Image -> objects, for `DiscoveryMetric`: LOST, TokenCut or MaskCut on features of patches.

    Args:
        backbone: Config of a backbone; `tools/test.py` fills in the checkpoint.
        method: `lost`, `token_cut` or `mask_cut`.
        method_options: Arguments of the method, such as `dict(threshold=0.2)`.
        features: As in `patch_features`: `keys`, `queries`, `values` or `patches`.
        block: As there.
        short_side: As there; None: images keep their size, as in the papers of LOST and TokenCut.
        centred: As in `find_objects`.
        precision: Precision of the network: `fp32`, `bf16` or `fp16`. Features are always compared in float32 or more.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision or the method is unknown.
    """

    def __init__(
        self,
        backbone: dict,
        method: str = 'token_cut',
        method_options: dict | None = None,
        features: str = 'keys',
        block: int = -1,
        short_side: int | None = None,
        centred: bool = False,
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'ObjectFinder: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        self.backbone = MODELS.build(backbone)
        self.finding = dict(method=method, centred=centred, **(method_options or {}))
        check_method(method)
        self.seeing = dict(features=features, block=block, short_side=short_side, autocast_dtype=PRECISIONS[precision])

    def forward(self, item: ObjectImage, mode: str = 'predict') -> dict[str, Any]:
        """`dict(item=..., image=..., found=...)` of one image, where found is as `find_objects` gives it.

        Raises:
            ValueError: In mode 'loss': there is nothing to train.
        """
        if mode == 'loss':
            raise ValueError('ObjectFinder has no loss: run its config by tools/test.py, not by tools/train.py.')
        image = item.read_image()
        features = patch_features(self.backbone, image, preprocessor=self.data_preprocessor, **self.seeing)
        return dict(item=item, image=image, found=find_objects(features, image.shape[:2], **self.finding))

    def test_step(self, data: Sequence[ObjectImage]) -> list[dict[str, Any]]:
        """One result of `forward` for each image."""
        return [self(item) for item in data]
