"""Label propagation on a clip: its first mask -> a mask for each frame."""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dino_plugin.data.images.label_masks import resize_mask
from dino_plugin.evaluation.features.extraction import network_size, stream_patches
from dino_plugin.evaluation.video.clip import Clip
from dino_plugin.evaluation.video.propagation import LabelPropagator

OBJECTS_AT_ONCE = 8  # objects whose maps are enlarged together, so that memory does not grow with their number


def segment_clip(
    backbone: nn.Module,
    clip: Clip,
    propagator: LabelPropagator | None = None,
    short_side: int = 480,
    multiple: int = 64,
    smooth: bool = True,
    **kwargs: Any,
) -> Iterator[UInt8[np.ndarray, 'height width']]:
    """Yield a mask for each frame: the given first mask, then the propagated ones. Frames are read one by one.

    Args:
        backbone: Images -> `Tokens`, such as `TimmBackbone`, on its device.
        clip: A clip; only its first mask is needed.
        propagator: Default: DINO's settings.
        short_side: Shorter side in pixels of what the network sees; see `network_size`.
        multiple: As in `network_size`.
        smooth: As in `mask_of_labels`.
        **kwargs: Arguments of `stream_patches`: `preprocessor`, `autocast_dtype`.

    Raises:
        ValueError: If a frame is damaged or of another size than the first mask; the message names it.
    """
    propagator = propagator or LabelPropagator()
    first = clip.read_mask(0)
    features = stream_patches(backbone, _frames(clip, first.shape), short_side, multiple, **kwargs)
    patches = next(features)
    labels = labels_of_mask(first, clip.objects, *patches.shape[:2])
    _report_lost_objects(clip, labels)
    size = network_size(backbone, first.shape, short_side, multiple)
    yield first
    for found in propagator(chain([patches], features), labels):
        yield resize_mask(mask_of_labels(found, clip.objects, size, smooth), *first.shape)


def copy_first_mask(clip: Clip) -> Iterator[UInt8[np.ndarray, 'height width']]:
    """The first mask for each frame: the baseline that any score has to be compared with."""
    first = clip.read_mask(0)
    for _ in clip.frames:
        yield first


def labels_of_mask(
    mask: UInt8[np.ndarray, 'height width'], objects: Sequence[int], rows: int, columns: int
) -> Float[Tensor, 'rows columns channels']:
    """Labels of patches: 1 for the label at the patch's centre, 0 for others; background first, then the objects."""
    small = torch.from_numpy(resize_mask(mask, rows, columns))
    return (small[..., None] == torch.tensor([0, *objects], dtype=torch.uint8)).float()


def mask_of_labels(
    labels: Float[Tensor, 'rows columns channels'], objects: Sequence[int], size: tuple[int, int], smooth: bool = True
) -> UInt8[np.ndarray, 'height width']:
    """The label of each pixel: the largest channel, after each channel is scaled to [0, 1] over the image.

    x_c -> (x_c - min x_c) / (max x_c - min x_c); a constant channel becomes 0, or 1 if it is above 0

    Args:
        labels: Background first, then the objects.
        objects: Their labels.
        size: Rows and columns of pixels.
        smooth: Enlarge the channels bilinearly first (DINO); otherwise a patch is a rectangle (DINOv3).

    References:
        `norm_mask` of facebookresearch/dino, eval_video_segmentation.py, where a constant channel is 0 / 0.
    """
    mode = dict(mode='bilinear', align_corners=False) if smooth else dict(mode='nearest-exact')
    best = winner = None
    for start in range(0, labels.shape[-1], OBJECTS_AT_ONCE):
        channels = interpolate(labels[..., start : start + OBJECTS_AT_ONCE].permute(2, 0, 1)[None], size, **mode)[0]
        least, most = (channels.flatten(1).aminmax(dim=1)[side][:, None, None] for side in (0, 1))
        stretched = torch.where(most > least, (channels - least) / (most - least), (most > 0).to(channels))
        value, index = stretched.max(dim=0)
        if best is None:
            best, winner = value, index
        else:
            better = value > best
            best, winner = torch.where(better, value, best), torch.where(better, index + start, winner)
    return np.array([0, *objects], np.uint8)[winner.cpu().numpy()]


def _frames(clip: Clip, size: tuple[int, int]) -> Iterator[UInt8[np.ndarray, 'height width 3']]:
    for index, path in enumerate(clip.frames):
        frame = clip.read_frame(index)
        if frame.shape[:2] != size:
            raise ValueError(
                f'{path} has {frame.shape[0]} rows and {frame.shape[1]} columns after EXIF rotation, the first mask '
                f'of {clip.name} has {size}: save it without an EXIF orientation, at the size of the mask.'
            )
        yield frame


def _report_lost_objects(clip: Clip, labels: Float[Tensor, 'rows columns channels']) -> None:
    lost = [label for label, patches in zip(clip.objects, labels[..., 1:].sum((0, 1)).tolist()) if patches == 0]
    if lost:
        print_log(
            f'{clip.name}: objects {lost} are smaller than a patch in the first mask and are lost. '
            'A larger short_side, or a network with smaller patches, keeps them.',
            logger='current',
            level=logging.WARNING,
        )
