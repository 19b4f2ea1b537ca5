"""Lightly's old collate function, which augments while it collates."""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from dino_plugin.data.images.pillow_images import as_rgb
from dino_plugin.data.lightly.adapters import LightlyBatch, views_to_lightly
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.normalisation import IMAGENET_MEAN, IMAGENET_STD
from dino_plugin.data.views.stacking import stack_blocks

IMAGENET_NORMALIZE = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)


class DINOCollateFunction(nn.Module):
    """Lightly's collate function of that name, which augments while collating; Lightly 1.6 dropped it.

    The arguments, their defaults and the result are those of Lightly 1.5; the views are made by
    :class:`~dino_plugin.data.multi_crop.MultiCrop`.
    Vertical flips and rotations come last, on the finished view; in Lightly they came before the colours.
    All random numbers come from the global generator of ``random``, as in Lightly.

    Args:
        global_crop_size: Pixels of a global view.
        global_crop_scale: Range of its share of the image area.
        local_crop_size: Pixels of a local view.
        local_crop_scale: Range of its share of the image area.
        n_local_views: Number of local views; there are two global ones.
        hf_prob: Probability of mirroring left and right.
        vf_prob: Probability of a vertical flip (upside down).
        rr_prob: Probability of a rotation, counter-clockwise.
        rr_degrees: None rotates by 90 degrees; a number d by an angle in [-d, d], a pair by one in that range, with
            black corners.
        cj_prob: Probability of colour jitter.
        cj_bright: Half width of the range of the brightness factor around 1.
        cj_contrast: Half width for contrast.
        cj_sat: Half width for saturation.
        cj_hue: Largest hue shift, as a share of the colour circle, in [0, 0.5].
        random_gray_scale: Probability of greyscale.
        gaussian_blur: Probabilities of a blur for the first global, the second global, and the local views.
        kernel_size: Gives a DeprecationWarning and changes nothing, as in Lightly 1.5: use ``sigmas``.
        kernel_scale: As ``kernel_size``.
        sigmas: Range of the blur's standard deviation in pixels.
        solarization_prob: Probability of solarising the second global view.
        normalize: ``mean`` and ``std`` in [0, 1]; None leaves the views in [0, 1].
    """

    def __init__(
        self,
        global_crop_size: int = 224,
        global_crop_scale: Sequence[float | int] = (0.4, 1.0),
        local_crop_size: int = 96,
        local_crop_scale: Sequence[float | int] = (0.05, 0.4),
        n_local_views: int = 6,
        hf_prob: float | int = 0.5,
        vf_prob: float | int = 0,
        rr_prob: float | int = 0,
        rr_degrees: float | int | Sequence[float | int] | None = None,
        cj_prob: float | int = 0.8,
        cj_bright: float | int = 0.4,
        cj_contrast: float | int = 0.4,
        cj_sat: float | int = 0.2,
        cj_hue: float | int = 0.1,
        random_gray_scale: float | int = 0.2,
        gaussian_blur: Sequence[float | int] = (1.0, 0.1, 0.5),
        kernel_size: float | int | None = None,
        kernel_scale: float | int | None = None,
        sigmas: Sequence[float | int] = (0.1, 2),
        solarization_prob: float | int = 0.2,
        normalize: Mapping[str, Sequence[float | int]] | None = IMAGENET_NORMALIZE,
    ) -> None:
        super().__init__()
        if kernel_size is not None or kernel_scale is not None:
            message = 'kernel_size and kernel_scale of DINOCollateFunction change nothing: use sigmas'
            warnings.warn(message, DeprecationWarning, stacklevel=2)
        self.multi_crop = MultiCrop(
            global_crop_size,
            global_crop_scale,
            local_crop_size,
            local_crop_scale,
            n_local_views,
            photometric=dict(
                jitter_probability=cj_prob,
                brightness=cj_bright,
                contrast=cj_contrast,
                saturation=cj_sat,
                hue=cj_hue,
                greyscale_probability=random_gray_scale,
                blur_sigma=sigmas,
                global_1=dict(blur_probability=gaussian_blur[0], solarize_probability=0.0),
                global_2=dict(blur_probability=gaussian_blur[1], solarize_probability=solarization_prob),
                local=dict(blur_probability=gaussian_blur[2], solarize_probability=0.0),
            ),
            flip_probability=hf_prob,
        )
        self.vf_prob = vf_prob
        self.rr_prob = rr_prob
        self.rr_degrees = rr_degrees
        mean, std = ((0, 0, 0), (1, 1, 1)) if normalize is None else (normalize['mean'], normalize['std'])
        self.preprocessor = ViewPreprocessor([255 * value for value in mean], [255 * value for value in std])

    def forward(self, batch: Sequence[tuple[Any, int, str]]) -> LightlyBatch:
        """Augment and collate samples ``(Pillow image, label, filename)``."""
        views = self.preprocessor(stack_blocks([self._blocks(image) for image, _, _ in batch]))['views']
        labels = torch.tensor([int(label) for _, label, _ in batch], dtype=torch.long)
        return views_to_lightly(views, labels, [filename for _, _, filename in batch])

    def _blocks(self, image: Any) -> tuple[Tensor, Tensor | None]:
        blocks = self.multi_crop.blocks(np.array(as_rgb(image)))
        for block in blocks:
            for view in () if block is None else block:
                if random.random() < self.vf_prob:
                    view.copy_(view.flip(0))
                if random.random() < self.rr_prob:
                    view.copy_(_rotated(view, self.rr_degrees))
        return blocks


def _rotated(
    view: UInt8[Tensor, 'rows columns 3'], degrees: float | int | Sequence[float | int] | None
) -> UInt8[Tensor, 'rows columns 3']:
    if degrees is None:
        return view.rot90(1)
    from torchvision.transforms.functional import rotate  # seldom needed, slow to import

    least, most = (-degrees, degrees) if isinstance(degrees, (int, float)) else degrees
    return rotate(view.permute(2, 0, 1), random.uniform(least, most)).permute(1, 2, 0)
