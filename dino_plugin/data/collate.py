"""Samples -> one batch, in the worker: our own, Lightly's two generations, and the bridges between them.

Nothing here imports Lightly: its samples are ``(views, label, filename)``, its batches ``(views, labels, filenames)``.
"""

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.utils.data import default_collate

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.multi_crop import MultiCrop, ViewParameters
from dino_plugin.data.preprocessor import ViewPreprocessor

IMAGENET_NORMALIZE = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LightlyBatch = tuple[list[Tensor], Int[Tensor, ' batch'], list[str]]


def multi_crop_collate(samples: Sequence[Any], num_global: int = 2) -> ViewBatch:
    """Stack the views of a batch: views first, global views apart from local ones.

    Two kinds of samples are understood:

    - ``(global block, local block or None)``, uint8 ``views rows columns 3``, of :class:`MultiCrop` and ``PackViews``.
      Each block is copied once, into memory that the main process shares; views and batch then change places by stride.
    - ``(list of views, label, filename)`` or ``(list of views, label)``, float ``channels rows columns``, of Lightly's
      and torchvision's datasets.

    Args:
        samples: As the dataset gives them.
        num_global: How many views of a list are global ones, counted from the first. Blocks say it themselves.

    Returns:
        The views as they came: uint8 with channels last, or float with channels first.

    Raises:
        TypeError: If the samples are of another form.
        ValueError: If there are fewer than two views, or views that belong together differ in number or size.
    """
    first = samples[0] if len(samples) else None
    if isinstance(first, (tuple, list)) and len(first) == 2 and _is_block(first[0]):
        return _collate_blocks(samples)
    if isinstance(first, (tuple, list)) and len(first) in (2, 3) and _is_view_list(first[0]):
        return _collate_view_lists([sample[0] for sample in samples], num_global)
    raise TypeError(
        'multi_crop_collate expects samples (global block, local block or None) of dino_plugin.PackViews, or '
        f'(list of float tensors, label, filename) as Lightly gives them, got {_describe(first)}. End the pipeline '
        "with dict(type='dino_plugin.PackViews'), or the transform with ToTensor and Normalize."
    )


def _is_block(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.dtype == torch.uint8


def _is_view_list(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(view, Tensor) and view.ndim == 3 and view.is_floating_point() for view in value)
    )


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'{value.dtype} {tuple(value.shape)}'
    if isinstance(value, (list, tuple)):
        return f'{type(value).__name__}({", ".join(_describe(entry) for entry in value[:3])}{", …" * (len(value) > 3)})'
    return type(value).__name__


def _collate_blocks(samples: Sequence[tuple[Tensor, Tensor | None]]) -> ViewBatch:
    global_blocks = [sample[0] for sample in samples]
    local_blocks = [sample[1] for sample in samples]
    num_without = sum(block is None for block in local_blocks)
    if 0 < num_without < len(samples):
        raise ValueError(f'{num_without} of {len(samples)} samples have no local views: all or none must have them')
    has_local = num_without == 0
    _refuse_single_view(len(global_blocks[0]) + (len(local_blocks[0]) if has_local else 0))
    _refuse_mixed(global_blocks, 'global')
    if not has_local:
        return ViewBatch(default_collate(global_blocks).transpose(0, 1), None)
    _refuse_mixed(local_blocks, 'local')
    return ViewBatch(default_collate(global_blocks).transpose(0, 1), default_collate(local_blocks).transpose(0, 1))


def _collate_view_lists(samples: list[Sequence[Tensor]], num_global: int) -> ViewBatch:
    num_views = {len(views) for views in samples}
    if len(num_views) > 1:
        raise ValueError(f'samples with {sorted(num_views)} views in one batch: every sample needs the same number')
    (num_views,) = num_views
    _refuse_single_view(num_views)
    if not 1 <= num_global <= num_views:
        raise ValueError(f'num_global={num_global} of {num_views} views: expected 1 to {num_views}')
    global_views = _stack(samples, range(num_global), 'global')
    if num_global == num_views:
        return ViewBatch(global_views, None)
    return ViewBatch(global_views, _stack(samples, range(num_global, num_views), 'local'))


def _stack(
    samples: list[Sequence[Tensor]], views: range, kind: str
) -> Float[Tensor, 'views batch channels rows columns']:
    ordered = [sample[view] for view in views for sample in samples]
    _refuse_mixed(ordered, kind)
    return default_collate(ordered).unflatten(0, (len(views), len(samples)))


def _refuse_single_view(num_views: int) -> None:
    if num_views < 2:
        raise ValueError(
            f'{num_views} view in a sample: self-distillation compares at least two views of an image. '
            'Use a multi-view transform such as dino_plugin.MultiCrop or lightly.transforms.DINOTransform.'
        )


def _refuse_mixed(tensors: Sequence[Tensor], kind: str) -> None:
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f'{kind} views of different shapes {sorted(shapes)} in one batch: give all {kind} views the same size, '
            'or set num_global in collate_fn to the number of global views, which come first'
        )


def image_collate(
    samples: Sequence[tuple[Any, int, str]],
) -> tuple[UInt8[Tensor, 'batch rows columns 3'], Int[Tensor, ' batch'], list[str]]:
    """Stack evaluation samples ``(uint8 image, label, path)``; images are arrays or tensors ``rows columns 3``.

    Raises:
        ValueError: If the images differ in size.
    """
    images = [torch.as_tensor(image) for image, _, _ in samples]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f'images of different shapes {sorted(shapes)} in one batch: resize and crop them to one size')
    labels = torch.tensor([int(label) for _, label, _ in samples], dtype=torch.long)
    return default_collate(images), labels, [path for _, _, path in samples]


def multi_view_collate(batch: Sequence[tuple[Sequence[Tensor], int, str]]) -> LightlyBatch:
    """What Lightly's ``MultiViewCollate`` does, as a function, which is what a config's ``collate_fn`` needs.

    Args:
        batch: Samples ``(views, label, filename)``.

    Returns:
        One stacked tensor for each view, the labels, the filenames. An empty batch gives a warning and empty lists.
    """
    if len(batch) == 0:
        warnings.warn('multi_view_collate received an empty batch', stacklevel=2)
        return [], torch.tensor([], dtype=torch.long), []
    views = default_collate([list(views) for views, _, _ in batch])
    labels = torch.tensor([int(label) for _, label, _ in batch], dtype=torch.long)
    return views, labels, [filename for _, _, filename in batch]


class MultiViewCollate:
    """:func:`multi_view_collate` as the callable object that Lightly's examples construct."""

    def __call__(self, batch: Sequence[tuple[Sequence[Tensor], int, str]]) -> LightlyBatch:
        return multi_view_collate(batch)


class DINOCollateFunction(nn.Module):
    """Lightly's collate function of that name, which augments while collating; Lightly 1.6 dropped it.

    The arguments, their defaults and the result are those of Lightly 1.5; the views are made by :class:`MultiCrop`.
    Flips upside down and rotations are done last, on the finished view, where Lightly did them before the colours.
    All randomness comes from the global generator of ``random``, as in :class:`MultiCrop`.

    Args:
        global_crop_size: Pixels of a global view.
        global_crop_scale: Range of its share of the image area.
        local_crop_size: Pixels of a local view.
        local_crop_scale: Range of its share of the image area.
        n_local_views: Number of local views; there are two global ones.
        hf_prob: Probability of mirroring left and right.
        vf_prob: Probability of turning upside down.
        rr_prob: Probability of a rotation, counter-clockwise.
        rr_degrees: None rotates by 90 degrees; a number d by an angle in [-d, d], a pair by one in that range, with
            black corners.
        cj_prob: Probability of colour jitter.
        cj_bright: Half width of the range of the brightness factor around 1.
        cj_contrast: Half width for contrast.
        cj_sat: Half width for saturation.
        cj_hue: Largest turn of the colour circle, in [0, 0.5].
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
        self.multi_crop = _MirroringMultiCrop(
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
        )
        self.multi_crop.mirror_probability = hf_prob
        self.vf_prob = vf_prob
        self.rr_prob = rr_prob
        self.rr_degrees = rr_degrees
        mean, std = ((0, 0, 0), (1, 1, 1)) if normalize is None else (normalize['mean'], normalize['std'])
        self.preprocessor = ViewPreprocessor([255 * value for value in mean], [255 * value for value in std])

    def forward(self, batch: Sequence[tuple[Any, int, str]]) -> LightlyBatch:
        """Augment and collate samples ``(Pillow image, label, filename)``."""
        views = self.preprocessor(multi_crop_collate([self._blocks(image) for image, _, _ in batch]))['views']
        labels = torch.tensor([int(label) for _, label, _ in batch], dtype=torch.long)
        return views_to_lightly(views, labels, [filename for _, _, filename in batch])

    def _blocks(self, image: Any) -> tuple[Tensor, Tensor | None]:
        blocks = self.multi_crop.blocks(np.array(image.convert('RGB')))
        for block in blocks:
            for view in () if block is None else block:
                if random.random() < self.vf_prob:
                    view.copy_(view.flip(0))
                if random.random() < self.rr_prob:
                    view.copy_(_rotated(view, self.rr_degrees))
        return blocks


class _MirroringMultiCrop(MultiCrop):
    """MultiCrop with a probability of its own to mirror a view."""

    mirror_probability = 0.5

    def draw(self, rows: int, columns: int) -> Iterator[ViewParameters]:
        for parameters in super().draw(rows, columns):
            yield parameters._replace(flip=random.random() < self.mirror_probability)


def _rotated(
    view: UInt8[Tensor, 'rows columns 3'], degrees: float | int | Sequence[float | int] | None
) -> UInt8[Tensor, 'rows columns 3']:
    if degrees is None:
        return view.rot90(1)
    from torchvision.transforms.functional import rotate  # seldom needed, slow to import

    least, most = (-degrees, degrees) if isinstance(degrees, (int, float)) else degrees
    return rotate(view.permute(2, 0, 1), random.uniform(least, most)).permute(1, 2, 0)


def views_from_lightly(batch: Sequence[Any], num_global: int = 2) -> ViewBatch:
    """A Lightly batch ``(views, labels, filenames)`` -> our batch; labels and filenames are dropped.

    Args:
        batch: One float tensor ``batch channels rows columns`` for each view; global views first.
        num_global: How many of them are global.

    Raises:
        ValueError: If there are fewer than two views, or views that belong together differ in size.
    """
    views = batch[0]
    _refuse_single_view(len(views))
    if not 1 <= num_global <= len(views):
        raise ValueError(f'num_global={num_global} of {len(views)} views: expected 1 to {len(views)}')
    _refuse_mixed(views[:num_global], 'global')
    global_views = torch.stack(list(views[:num_global]))
    if num_global == len(views):
        return ViewBatch(global_views, None)
    _refuse_mixed(views[num_global:], 'local')
    return ViewBatch(global_views, torch.stack(list(views[num_global:])))


def views_to_lightly(
    views: ViewBatch, labels: Int[Tensor, ' batch'] | None = None, filenames: Sequence[str] | None = None
) -> LightlyBatch:
    """Our normalised batch -> a Lightly batch ``(views, labels, filenames)``, without copying.

    Args:
        views: Float views as :class:`~dino_plugin.data.preprocessor.ViewPreprocessor` leaves them.
        labels: Zeros if None.
        filenames: Empty strings if None.

    Raises:
        TypeError: If the views are still uint8.
    """
    if not views.global_views.is_floating_point():
        raise TypeError(f'Lightly expects normalised float views, got {views.global_views.dtype}: use ViewPreprocessor')
    listed = [*views.global_views, *(() if views.local_views is None else views.local_views)]
    batch_size = len(listed[0])
    labels = torch.zeros(batch_size, dtype=torch.long) if labels is None else labels.long()
    return listed, labels, [''] * batch_size if filenames is None else list(filenames)
