"""Film -> clips of frames -> square views, as steps of a pipeline."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from mmcv.transforms import BaseTransform
from torch import Tensor

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.views.crop_boxes import checked_scale, checked_size, draw_box
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.clips.films import read_frames


def clip_places(length: int, frames: int, step: int, clips: int, random_places: bool = False) -> list[int]:
    """Places of the frames of all clips in a film, clip after clip.

    A clip spans s = (frames - 1) step + 1 frames. Clip j of m begins in the middle of the j-th of m equal parts of
    [0, length - s], or anywhere in that part. In a film that is shorter than a clip the step becomes smaller, down to
    repeated frames: frame i of the clip is the film's frame round(i (length - 1) / (frames - 1)).

    Args:
        length: Frames of the film.
        frames: Frames of a clip.
        step: From one frame of a clip to the next.
        clips: Number of clips m.
        random_places: Draw the beginnings, by Python's global generator.
    """
    room = length - (frames - 1) * step - 1
    if room < 0:
        return np.linspace(0, length - 1, frames).round().astype(int).tolist() * clips
    starts = [
        int((number + (random.random() if random_places else 0.5)) * (room + 1) / clips) for number in range(clips)
    ]
    return [start + step * frame for start in starts for frame in range(frames)]


class ReadClips(BaseTransform):
    """Adds ``frames``: those of `clips` clips, one after the other; see `clip_places`.

    Args:
        frames: Frames of a clip.
        step: From one frame to the next.
        clips: Clips of a film; their tokens are joined in time.
        random: Draw where a clip begins, at each reading.
        short_side: Pixels of the shorter side of a frame. None: it keeps its size.
        only_shrink: Smaller frames keep their size.

    Raises:
        ValueError: If a number is below 1.
    """

    def __init__(
        self,
        frames: int = 16,
        step: int = 4,
        clips: int = 1,
        random: bool = False,
        short_side: int | None = 256,
        only_shrink: bool = False,
    ) -> None:
        if min(frames, step, clips, short_side or 1) < 1:
            raise ValueError(f'ReadClips: {frames=}, {step=}, {clips=} and {short_side=} are at least 1.')
        self.frames, self.step, self.clips, self.random = frames, step, clips, random
        self.short_side, self.only_shrink = short_side, only_shrink

    def transform(self, results: dict) -> dict:
        """Read the frames between ``first`` and ``last`` of the film, backwards if ``backwards`` says so."""
        first, last = results['first'], results['last']
        places = clip_places(last - first, self.frames, self.step, self.clips, self.random)
        if results.get('backwards'):
            places = [last - first - 1 - place for place in places]
        places = [first + place for place in places]
        frames = read_frames(results['film'], places, self.short_side, self.only_shrink)
        if len(sizes := {frame.shape[1::-1] for frame in frames}) > 1:
            raise UndecodableImageError(f'{results["film"]} has frames of different sizes: {sorted(sizes)}.')
        return dict(results, frames=np.stack(frames))


class CropClips(BaseTransform):
    """Cuts squares along the longer side of the frames: the centre, or several at equal distances from end to end.

    Args:
        size: Pixels of a side.
        views: Number of squares.

    Raises:
        ValueError: When called, if the frames are smaller than the square.
    """

    random = False

    def __init__(self, size: int = 224, views: int = 1) -> None:
        if min(size, views) < 1:
            raise ValueError(f'CropClips: {size=} and {views=} are at least 1.')
        self.size, self.views = size, views

    def transform(self, results: dict) -> dict:
        """Put the squares into ``views``."""
        frames = results['frames']
        room = [side - self.size for side in frames.shape[1:3]]
        if min(room) < 0:
            raise ValueError(
                f'CropClips: a square of {self.size} pixels does not fit into frames of {frames.shape[2]}x'
                f'{frames.shape[1]} of {results["film"]}: set short_side={self.size} or more in ReadClips.'
            )
        shares = np.linspace(0, 1, self.views) if self.views > 1 else [0.5]
        along = int(room[1] >= room[0])  # of a square frame the columns
        corners = [[round(side / 2) for side in room] for _ in shares]
        for corner, share in zip(corners, shares):
            corner[along] = round(share * room[along])
        cut = [frames[:, top : top + self.size, left : left + self.size] for top, left in corners]
        return dict(results, views=np.stack(cut))


class RandomCropClips(BaseTransform):
    """One view: the same random box of all frames, resized (bicubic), sometimes mirrored.

    Args:
        size: Pixels of a side.
        scale: Range of the share of the frame that the box shows, in (0, 1].
        flip_probability: Of mirroring all frames. 0 where left and right matter, as in Something-Something.

    Raises:
        ValueError: If a number is not possible.
    """

    random = True

    def __init__(self, size: int = 224, scale: Sequence[float] = (0.3, 1.0), flip_probability: float = 0.5) -> None:
        if not 0 <= flip_probability <= 1:
            raise ValueError(f'RandomCropClips: flip_probability is in [0, 1], got {flip_probability}.')
        self.size, self.scale = checked_size('size', size), checked_scale('scale', scale)
        self.flip_probability = flip_probability

    def transform(self, results: dict) -> dict:
        """Put the view into ``views``."""
        frames = results['frames']
        _, rows, columns, _ = frames.shape
        box = draw_box(rows, columns, self.scale)
        cut = frames[:, box.top : box.top + box.rows, box.left : box.left + box.columns]
        view = np.stack([resize(np.ascontiguousarray(frame), *self.size) for frame in cut])
        if random.random() < self.flip_probability:
            view = view[:, :, ::-1]
        return dict(results, views=view[None])


class PackClips(BaseTransform):
    """Keeps the tuple (views, label, path) for `image_collate` and `ViewPreprocessor`."""

    random = False

    def transform(self, results: dict) -> tuple[UInt8[Tensor, 'views time rows columns 3'], int, str]:
        """The sample."""
        return torch.from_numpy(np.ascontiguousarray(results['views'])), results['gt_label'], results['film']
