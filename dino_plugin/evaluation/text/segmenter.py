"""Pixels by names of classes: each patch is compared with texts."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmengine.structures import PixelData
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.evaluation.text.towers import unit
from dino_plugin.evaluation.text.zero_shot import NamedClasses

Maps = Float[Tensor, 'images classes rows columns']


class TextSegmenter(NamedClasses):
    """Images -> a class for each pixel, as a segmenter of mmsegmentation, for its pipelines and ``IoUMetric``.

    Each patch is compared with the patch part of a text's vector. In each window

    p = softmax over classes of scale <patch, t_c>, after bilinear enlargement of the cosines

    and a pixel takes the largest mean of p over the windows it lies in. Windows are stretched to whole patches.

    Args:
        window: Side of the windows in pixels, after the pipeline's ``Resize``.
        stride: Between windows.
        data_preprocessor: Config. `tools/test.py` takes ``mean`` and ``std`` from the checkpoint if they are not given;
            without any, they are ImageNet's.
        **model: As in `NamedClasses`.

    Raises:
        ValueError: As in `NamedClasses`, if the model has no patches among its ``vision.features``, or windows would
            leave gaps.

    References:
        Jose et al. 2024, arXiv:2412.16334 (dino.txt), section 4.
    """

    def __init__(
        self, window: int = 384, stride: int = 192, data_preprocessor: dict | None = None, **model: Any
    ) -> None:
        if data_preprocessor is not None:
            data_preprocessor = {'mean': IMAGENET_MEAN_LEVELS, 'std': IMAGENET_STD_LEVELS, **data_preprocessor}
        super().__init__(data_preprocessor=data_preprocessor, **model)
        if not 1 <= stride <= window:
            raise ValueError(f'TextSegmenter: 1 <= stride <= window expected, got stride={stride}, window={window}.')
        require_patches(self)
        self.window, self.stride = window, stride

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = 'tensor') -> Any:
        """Probabilities at the size of the images in mode 'tensor'; ``pred_sem_seg`` of the samples in 'predict'.

        Raises:
            ValueError: In mode 'loss'.
        """
        if mode == 'loss':
            raise ValueError('TextSegmenter has no loss: run its config by tools/test.py; ImageTextModel trains.')
        found = mean_over_windows(inputs, self.window, self.stride, self._of_windows)
        if mode == 'tensor':
            return found
        for maps, sample in zip(found, data_samples):
            rows, columns = sample.metainfo['img_shape'][:2]  # without padding
            maps = interpolate(maps[None, :, :rows, :columns], sample.metainfo['ori_shape'][:2], mode='bilinear')
            sample.pred_sem_seg = PixelData(data=maps.argmax(dim=1))
        return data_samples

    def _of_windows(self, images: Float[Tensor, 'images channels rows columns']) -> Maps:
        vectors = self.vectors_of_classes(self.vision.patch_part)
        cosines = patch_cosines(self, images, vectors)
        return (self.loss.scale * interpolate(cosines, images.shape[2:], mode='bilinear')).softmax(dim=1)


def require_patches(model: Any) -> None:
    """Raise a ValueError if texts cannot be compared with patches."""
    if model.vision.patch_part is None:
        raise ValueError(
            "This model was trained with vision.features='class': its texts know no patches. Train it with "
            "'class+mean'."
        )


def patch_cosines(
    model: Any, images: Float[Tensor, 'images channels _ _'], vectors: Float[Tensor, 'texts dim']
) -> Maps:
    """Cosine of each patch and each vector of the patch part, at the grid of the patches.

    Args:
        model: An `ImageTextTowers`.
        images: Normalised; stretched to whole patches.
        vectors: Of `class_vectors`.
    """
    patch = model.backbone.patch_size or (1, 1)
    rows, columns = (-(-side // each) * each for side, each in zip(images.shape[2:], patch))
    if (rows, columns) != images.shape[2:]:
        images = interpolate(images, (rows, columns), mode='bicubic')
    return torch.einsum('irkd,cd->icrk', unit(model.tokens(images).patches), vectors)


def mean_over_windows(
    images: Float[Tensor, 'images channels rows columns'], window: int, stride: int, function: Callable[[Tensor], Maps]
) -> Maps:
    """What a function gives for square windows, averaged where they overlap; the last window ends at the edge.

    Args:
        images: Of any size; a smaller image is one window.
        window: Side in pixels.
        stride: Between windows, at most ``window``.
        function: Of windows, to maps of the same rows and columns.
    """
    total, number = None, images.new_zeros(images.shape[2:])
    for top in window_starts(images.shape[2], window, stride):
        for left in window_starts(images.shape[3], window, stride):
            place = ..., slice(top, top + window), slice(left, left + window)
            found = function(images[place])
            if total is None:
                total = found.new_zeros((*found.shape[:2], *images.shape[2:]))
            total[place] += found
            number[place] += 1
    return total / number


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of windows that cover a side."""
    return [*range(0, max(0, length - window), stride), max(0, length - window)]
