"""Label propagation with a frozen backbone, as the model of a test config."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel

from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.video.clip import Clip
from dino_plugin.evaluation.video.propagation import LabelPropagator
from dino_plugin.evaluation.video.segment_clip import segment_clip
from dino_plugin.registry import MODELS, TASK_UTILS

SOURCES = ('checkpoint', 'checkpoint_source', 'allow_mismatch', 'pretrained')  # of the weights, which have a digest


class ClipSegmenter(BaseModel):
    """Clip -> a mask for each frame, by `segment_clip`; for `ClipTestLoop`.

    Args:
        backbone: Config of a backbone; `tools/test.py` fills in the checkpoint.
        propagator: Config of a `LabelPropagator`; by default DINO's settings.
        short_side: Shorter side in pixels of what the network sees; see `network_size`.
        multiple: As in `network_size`.
        smooth: As in `mask_of_labels`.
        precision: Precision of the network: `fp32`, `bf16` or `fp16`. Features are always compared in float32.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown.
    """

    def __init__(
        self,
        backbone: dict,
        propagator: dict | None = None,
        short_side: int = 480,
        multiple: int = 64,
        smooth: bool = True,
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'ClipSegmenter: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        propagator = propagator or dict(type='dino_plugin.LabelPropagator')
        self.backbone = MODELS.build(backbone)
        self.propagator: LabelPropagator = TASK_UTILS.build(propagator)
        self.frame_settings = dict(short_side=short_side, multiple=multiple, smooth=smooth)
        self.autocast_dtype = PRECISIONS[precision]
        self.config = dict(
            backbone={key: value for key, value in backbone.items() if key not in SOURCES},
            propagator=propagator,
            preprocessor=data_preprocessor,
            precision=precision,
            **self.frame_settings,
        )
        self._settings: dict[str, Any] | None = None

    def forward(self, clip: Clip, mode: str = 'predict') -> dict[str, Any]:
        """`dict(clip=..., masks=..., settings=...)`, where masks is an iterator that computes one mask at a time.

        Raises:
            ValueError: In mode 'loss': there is nothing to train.
        """
        if mode == 'loss':
            raise ValueError('ClipSegmenter has no loss: run its config by tools/test.py, not by tools/train.py.')
        masks = segment_clip(
            self.backbone,
            clip,
            self.propagator,
            preprocessor=self.data_preprocessor,
            autocast_dtype=self.autocast_dtype,
            **self.frame_settings,
        )
        return dict(clip=clip, masks=masks, settings=self.settings())

    def test_step(self, data: Sequence[Clip]) -> list[dict[str, Any]]:
        """One result of `forward` for each clip."""
        return [self(clip) for clip in data]

    def settings(self) -> dict[str, Any]:
        """What the masks of a clip depend on: the arguments, and a digest of the weights, from whatever file."""
        if self._settings is None:
            digest = hashlib.sha256()
            for name, value in sorted(self.backbone.state_dict().items()):
                digest.update(name.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            self._settings = dict(self.config, weights=digest.hexdigest())
        return self._settings
