"""A collated batch -> normalised views on the model's device."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.views.device_views import finish_views
from dino_plugin.data.views.fine_levels import STEPS, is_fine
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.data.views.stacking import form_of


class ViewPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device of the model and normalise pixels that are still levels: (level - mean) / std.

    - ``ViewBatch`` -> ``dict(views=ViewBatch)``. Float views, which transforms of Lightly and torchvision have already
      normalised, are only moved, and so are masks. ``unfinished`` views are finished here, on the device (see ``split``
      of :class:`~dino_plugin.data.multi_crop.MultiCrop`).
    - ``(images, labels, paths)`` of :func:`~dino_plugin.data.collate.image_collate`
      -> ``dict(images=..., labels=...)``.

    Pixels travel as bytes, or as 128ths of a level in int16 (:class:`~dino_plugin.data.mmcv_transforms.LoadChannels`),
    and become float32 on the device.

    Args:
        mean: Mean of each channel in levels of [0, 255], in RGB order or that of ``LoadChannels``. Default: ImageNet's;
            ``tools/measure_normalisation.py`` measures others.
        std: Standard deviations, likewise.
        compile_colours: ``torch.compile`` the colours of unfinished RGB views at the first batch, which takes about 15
            seconds and a C++ compiler. Colours then take about two thirds of the time on a CPU; no GPU was measured.
            A few levels in a million differ by one, where rounding was close.

    Raises:
        ValueError: If ``mean`` and ``std`` differ in length or a deviation is not positive.
        TypeError: When called, if the batch has another form, or pixels have other channels.
    """

    def __init__(
        self,
        mean: Sequence[float | int] = IMAGENET_MEAN_LEVELS,
        std: Sequence[float | int] = IMAGENET_STD_LEVELS,
        compile_colours: bool = False,
    ) -> None:
        super().__init__(non_blocking=True)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f'mean and std need one entry for each channel, and std > 0, got mean={mean}, std={std}')
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32), persistent=False)
        self.compile_colours = compile_colours

    def forward(self, data: Any, training: bool = False) -> dict:
        """Prepare one batch; ``training`` is part of mmengine's interface and makes no difference."""
        if isinstance(data, ViewBatch):
            data = self.cast_data(data)
            if data.unfinished is not None:
                levels = finish_views(data, self.compile_colours)
                blocks = {name: self._normalise(view.movedim(2, -1)) for name, view in levels.items()}
                return dict(views=data._replace(**blocks, unfinished=None))
            blocks = {name: getattr(data, name) for name in ('global_views', 'local_views', 'anchor_views')}
            blocks = {name: self._prepare(block) for name, block in blocks.items() if block is not None}
            return dict(views=data._replace(**blocks))
        if isinstance(data, Sequence) and len(data) == 3 and all(isinstance(entry, Tensor) for entry in data[:2]):
            return dict(images=self._prepare(self.cast_data(data[0])), labels=self.cast_data(data[1]))
        raise TypeError(
            f'expected a ViewBatch, or (images, labels, paths) for evaluation, got {form_of(data)}. Set in the '
            "dataloader collate_fn=dict(type='dino_plugin.multi_crop_collate') for training or "
            "collate_fn=dict(type='dino_plugin.image_collate') for evaluation: mmengine's default does not stack."
        )

    def _prepare(self, pixels: Shaped[Tensor, '*leading _ _ _']) -> Float[Tensor, '*leading channels rows columns']:
        if pixels.is_floating_point():
            return pixels
        if pixels.dtype not in (torch.uint8, torch.int16):
            raise TypeError(
                'expected pixels in uint8, or in int16 as dino_plugin.LoadChannels makes them, channels last, or '
                f'normalised float views with channels first, got {pixels.dtype} of shape {tuple(pixels.shape)}'
            )
        return self._normalise(pixels)

    def _normalise(
        self, pixels: Shaped[Tensor, '*leading rows columns channels']
    ) -> Float[Tensor, '*leading channels rows columns']:
        if pixels.shape[-1] != len(self.mean):
            raise TypeError(
                f'expected pixels with {len(self.mean)} channels last, as many as mean and std have, got shape '
                f'{tuple(pixels.shape)}: give ViewPreprocessor one number for each channel, as '
                'tools/measure_normalisation.py prints them'
            )
        # Channels stay last in memory: no copy is needed, and convolutions are faster.
        views = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device).copy_(pixels)
        if is_fine(pixels):
            views.mul_(1 / STEPS)
        return views.sub_(self.mean).div_(self.std).movedim(-1, -3)
