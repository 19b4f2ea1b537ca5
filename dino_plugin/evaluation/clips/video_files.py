"""Frames of video files, by PyAV, which brings FFmpeg's decoders along."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dino_plugin.data.images.headers import UndecodableImageError

SEEK_FROM = 32  # frames: over a shorter gap decoding on is about as fast as seeking

Frame = UInt8[np.ndarray, '_ _ 3']


def count_video(path: str) -> int:
    """Number of frames that the header gives, or else duration x rate.

    Raises:
        UndecodableImageError: If it is no video; the message names it.
        ImportError: If PyAV is missing.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        return stream.frames or round(_seconds(container, stream) * (stream.average_rate or 0))


def read_video(path: str, wanted: list[int]) -> Iterator[tuple[int, Frame]]:
    """Places and frames, of those that are there: the last frame stands for the first one after the end.

    Args:
        path: Of the video.
        wanted: Places in rising order.

    Raises:
        UndecodableImageError: As `count_video`.
    """
    for group in _groups(wanted):
        frame = None
        for place, frame in _decoded_from(path, group[0]):
            while group and place >= group[0]:
                yield group.pop(0), _upright(frame)
            if not group:
                break
        if group and frame is not None:  # it ended before
            yield group[0], _upright(frame)


def _groups(wanted: list[int]) -> list[list[int]]:
    """Frames near each other, which are decoded in one go."""
    groups = [[wanted[0]]]
    for index in wanted[1:]:
        groups.append([index]) if index - groups[-1][-1] > SEEK_FROM else groups[-1].append(index)
    return groups


def _decoded_from(path: str, first: int) -> Iterator[tuple[int, Any]]:
    """Places and frames from the last key frame before `first` on."""
    if first > SEEK_FROM:
        with _opened(path) as container:
            stream = container.streams.video[0]
            seconds = first / (stream.average_rate or stream.guessed_rate)
            container.seek((stream.start_time or 0) + int(seconds / stream.time_base), stream=stream)
            found = _placed(container)
            head = next(found, None)
            if head is not None and head[1].pts is not None and head[0] <= first:
                yield from chain([head], found)
                return
    # A file without an index has been brought too far. Even a seek to the beginning misses frames of some files, such
    # as MPEG's transport streams, so it is opened again.
    with _opened(path) as container:
        yield from _placed(container)


def _placed(container: Any) -> Iterator[tuple[int, Any]]:
    """Places and frames until the end, or until what cannot be decoded."""
    import av

    stream = container.streams.video[0]
    rate, start = stream.average_rate or stream.guessed_rate, stream.start_time or 0
    try:
        for count, frame in enumerate(container.decode(stream)):
            yield count if frame.pts is None else round((frame.pts - start) * stream.time_base * rate), frame
    except av.FFmpegError:
        return


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _opened(path: str) -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError(
            "Videos need PyAV: pip install 'dino_plugin[video]'. Folders of frames need nothing."
        ) from error
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError) as error:
        raise UndecodableImageError(f'{path} is no video that can be read: {error}') from error
    if not container.streams.video:
        container.close()
        raise UndecodableImageError(f'{path} has no picture, perhaps sound alone.')
    return container


def _upright(frame: Any) -> Frame:
    """Telephones write how to turn a film instead of turning it."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format='rgb24'), frame.rotation // 90))
