"""Frames of a film: a video file, by PyAV, or a folder of images."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dino_plugin.data.images.decoding import UndecodableImageError, read_image
from dino_plugin.data.images.image_files import EXTENSIONS
from dino_plugin.data.images.user_files import list_folder, natural_key
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.clips.video_files import Frame, count_video, read_video

VIDEOS = ('.mp4', '.avi', '.webm', '.mkv', '.mov', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ogv', '.3gp', '.ts')


@cache
def num_frames(path: str) -> int:
    """Number of frames; the first one is decoded, too. Of a video it is what its header says, or its duration x rate.

    Raises:
        UndecodableImageError: If it cannot be read, or has fewer than two frames; the message names it.
        ImportError: If PyAV is missing.
    """
    if Path(path).is_dir():
        count = len(_images_in(path))
    else:
        count = count_video(path)
    if count < 2:
        raise UndecodableImageError(f'{path} has {count} frame: a film needs two or more. Remove it.')
    read_frames(path, [0])
    return count


def frames_or_error(path: str) -> int | str:
    """The number of frames, or why it cannot be told."""
    try:
        return num_frames(path)
    except (UndecodableImageError, OSError) as error:
        return str(error)


def read_frames(
    path: str, indices: Sequence[int], short_side: int | None = None, only_shrink: bool = False
) -> list[Frame]:
    """RGB pixels of some frames, in the order asked for, which may name a frame twice.

    A video that ends too early, as after a broken download, repeats its last frame. Frames of a video without a
    constant rate are taken at the times that a constant rate gives.

    Args:
        path: A video, or a folder of images.
        indices: Places of the frames, from 0 on.
        short_side: Pixels of the shorter side to which frames are resized. None: they keep their size.
        only_shrink: Frames that are smaller keep their size.

    Raises:
        UndecodableImageError: If none of the frames can be read; the message names the film.
    """
    wanted, size = sorted(set(indices)), (short_side, only_shrink)
    if Path(path).is_dir():
        images = _images_in(path)
        found = {index: _resized(read_image(images[index]), *size) for index in wanted}
    else:
        found = {index: _resized(frame, *size) for index, frame in read_video(path, wanted)}
    if not found:
        raise UndecodableImageError(f'{path} ends before frame {wanted[0]}: no frame could be decoded.')
    last = found[max(found)]
    return [found.get(index, last) for index in indices]


def first_file(path: str) -> str:
    """The video, or the first image of a folder."""
    return str(_images_in(path)[0]) if Path(path).is_dir() else path


def _images_in(folder: str) -> list[Path]:
    names = [entry.name for entry in list_folder(folder)]
    return [Path(folder, name) for name in sorted(names, key=natural_key) if name.lower().endswith(EXTENSIONS)]


def _resized(frame: Frame, short_side: int | None, only_shrink: bool) -> Frame:
    rows, columns = frame.shape[:2]
    shorter = min(rows, columns)
    if short_side is None or short_side == shorter or (only_shrink and short_side > shorter):
        return frame
    factor = short_side / shorter
    return resize(frame, max(short_side, round(rows * factor)), max(short_side, round(columns * factor)))
