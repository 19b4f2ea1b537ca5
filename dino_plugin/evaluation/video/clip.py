"""One video clip: its frames, its masks, and the checks of both before long work starts."""

import logging
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from mmengine.logging import print_log

from dino_plugin.data.images.decoding import image_size, read_image
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.image_files import EXTENSIONS
from dino_plugin.data.images.label_masks import labels_in, read_mask
from dino_plugin.data.images.user_files import list_folder, natural_key

VOID = 255


@dataclass(frozen=True, eq=False)
class Clip:
    """The files of one clip; each is read only when it is asked for.

    Attributes:
        name: Name of its folder.
        frames: Files of the frames, in the order of time.
        masks: One for each frame, or the mask of the first frame alone.
        objects: Labels of the objects in the first mask.
        label_map: Label in a file -> one of ``objects``, or 0 for the background.
        max_pixels: Largest number of pixels that a frame or mask may have.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    objects: tuple[int, ...]
    label_map: UInt8[np.ndarray, '256'] = field(repr=False)
    max_pixels: int = MAX_PIXELS

    @property
    def annotated(self) -> bool:
        """Whether every frame has a mask, so that a result can be scored."""
        return len(self.masks) == len(self.frames)

    def read_frame(self, index: int) -> UInt8[np.ndarray, 'rows columns 3']:
        """RGB pixels.

        Raises:
            UndecodableImageError: If the file is damaged; the message names it.
        """
        return read_image(self.frames[index], max_pixels=self.max_pixels)

    def read_mask(self, index: int) -> UInt8[np.ndarray, 'rows columns']:
        """The label of each pixel: 0 or one of ``objects``."""
        return self.label_map[read_mask(self.masks[index], self.max_pixels)]


def open_clip(
    name: str, frames_folder: Path, masks_folder: Path, single: bool = False, max_pixels: int = MAX_PIXELS
) -> Clip:
    """A clip from a folder of frames and a folder of masks, after a check of every mask and of every frame's header.

    The labels of the first mask are the objects, as in DAVIS's official evaluator. Label 255 is void and counts as
    background. So does a label that appears only later, which is logged.

    Args:
        name: Name of the clip.
        frames_folder: Folder of its images, in the order of their names; numbers in names count as numbers, so that
            ``2.jpg`` comes before ``10.jpg``.
        masks_folder: Folder of indexed PNG with the names of the frames: one for each, or the first alone.
        single: All labels together are one object; 255 belongs to it if the first mask has no other label.
        max_pixels: Largest number of pixels that a frame or mask may have.

    Raises:
        FileNotFoundError: If a folder is missing.
        PermissionError: If a folder cannot be read.
        ValueError: If masks and frames do not fit each other; the message names the file.
    """
    frames = _files(frames_folder, EXTENSIONS, 'frames')
    masks = _files(masks_folder, ('.png',), 'masks')
    _refuse_unmatched(frames, masks)
    _report_order(frames)
    size = _common_size(frames, max_pixels)
    labels = [_labels(mask, size, max_pixels) for mask in masks]
    objects, label_map = _objects(masks[0], labels[0], single)
    _report_later_objects(masks, labels, label_map)
    return Clip(name, tuple(frames), tuple(masks), objects, label_map, max_pixels)


def _files(folder: Path, extensions: tuple[str, ...], kind: str) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder: expected the {kind} of this clip there.')
    paths = [folder / entry.name for entry in list_folder(folder)]
    paths = [path for path in paths if path.suffix.lower() in extensions]
    if not paths:
        raise ValueError(f'no {kind} in {folder}: looked for {" ".join(extensions)}.')
    return sorted(paths, key=lambda path: natural_key(path.name))


def _report_order(frames: list[Path]) -> None:
    if frames != sorted(frames, key=lambda path: path.name):
        _say_order(frames[0].parent.parent)


@cache  # once for all clips of a folder
def _say_order(folder: Path) -> None:
    print_log(
        f'Frames below {folder} are taken in the order of the numbers in their names, 2.jpg before 10.jpg, which is '
        'not the order of the names as text.',
        logger='current',
    )


def _refuse_unmatched(frames: list[Path], masks: list[Path]) -> None:
    """Raise a ValueError unless there is a mask for each frame, or for the first alone."""
    folder, names = masks[0].parent, [frame.stem for frame in frames]
    if len(set(names)) < len(names):
        raise ValueError(f'two frames in {frames[0].parent} share a name and differ in their ending: keep one of them.')
    if len(frames) < 2:
        raise ValueError(f'{frames[0].parent} has one frame: a clip needs at least two to propagate labels.')
    found = [mask.stem for mask in masks]
    if found == names[:1]:
        return
    strangers = sorted(set(found) - set(names))
    if strangers:
        raise ValueError(
            f'{folder / strangers[0]}.png has no frame of its name in {frames[0].parent} (first frame: '
            f'{frames[0].name}); {len(strangers)} of {len(masks)} masks have none. Name a mask like its frame.'
        )
    missing = [name for name in names if name not in set(found)]
    if missing:
        raise ValueError(
            f'{folder / missing[0]}.png is missing, like {len(missing) - 1} other masks of {len(frames)} frames. Give '
            'a mask for every frame, or the first one alone if there is nothing to score.'
        )
    if len(frames) < 3:
        raise ValueError(
            f'{folder} has masks for a clip of two frames, but scores leave out the first and the last frame. Add '
            f'frames, or keep only {masks[0].name}.'
        )


def _common_size(frames: list[Path], max_pixels: int) -> tuple[int, int]:
    """Rows and columns of all frames, upright, from the headers of their files."""
    first = image_size(frames[0], max_pixels)
    for path in frames:
        if (size := image_size(path, max_pixels)) != first:
            raise ValueError(
                f'{path} has {_pixels(size)}, {frames[0].name} has {_pixels(first)}: bring them to one size.'
            )
    return first


def _labels(path: Path, size: tuple[int, int], max_pixels: int) -> list[int]:
    """The labels in a mask of this size, smallest first."""
    mask = read_mask(path, max_pixels)
    if mask.shape != size:
        raise ValueError(
            f'{path} has {_pixels(mask.shape)}, but the frames have {_pixels(size)} (after their EXIF orientation, if '
            'any). Masks need the same size; resize them by nearest neighbour, so that labels stay labels.'
        )
    return labels_in(mask)


def _pixels(size: tuple[int, int]) -> str:
    return f'{size[1]} x {size[0]} pixels'


def _objects(path: Path, labels: list[int], single: bool) -> tuple[tuple[int, ...], UInt8[np.ndarray, '256']]:
    """The objects of the first mask, and the label map."""
    void_only = set(labels) - {0} == {VOID}
    objects = [label for label in labels if label != 0 and (label != VOID or single)]
    if not objects:
        cure = 'Set year=2016 if 255 is the object.' if void_only else 'Draw the objects with the labels 1, 2, 3 …'
        raise ValueError(f'{path}, the first mask of its clip, has no object (labels: {labels}). {cure}')
    label_map = np.zeros(256, np.uint8)
    if single:
        label_map[1:] = 1
        label_map[VOID] = void_only
        return (1,), label_map
    label_map[objects] = objects
    return tuple(objects), label_map


def _report_later_objects(masks: list[Path], labels: list[list[int]], label_map: UInt8[np.ndarray, '256']) -> None:
    for path, found in zip(masks, labels):
        unknown = [label for label in found if label not in (0, VOID) and label_map[label] == 0]
        if unknown:
            print_log(
                f'{path} has labels {unknown} that the first mask of the clip does not have: they count as background, '
                'here and in later masks. Draw them in the first mask to follow and score these objects.',
                logger='current',
                level=logging.WARNING,
            )
            return
