"""Pictures and films of a run, small enough for a page."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dino_plugin.report.files import found

_ENDINGS = ('png', 'jpg', 'jpeg', 'webp')
_STORED = 'vis_data/vis_image'
_PICTURES = tuple(f'{folder}*.{ending}' for folder in ('', 'overlays/', '*/overlays/') for ending in _ENDINGS)
_FILMS = ('*.mp4', 'overlays/*.mp4', '*/overlays/*.mp4')
_WIDTH, _FILM_WIDTH = 1280, 480  # pixels
_FRAMES = 60
_QUALITY = 80

Frames = dict[int, Path]


def pictures(folder: Path) -> dict[str, Frames]:
    """Pictures by name, and then by iteration: what visualizers stored, and single pictures of our tools (iteration 0).

    Pictures of a film's name are left out, as the film tells more.
    """
    series: dict[str, Frames] = {}
    moving = films(folder)
    for path in found(folder, folder, (f'{_STORED}/**/*', f'*/{_STORED}/**/*')):
        name = path.as_posix().rpartition(f'{_STORED}/')[2]
        if match := re.fullmatch(rf'(.+)_(\d+)\.({"|".join(_ENDINGS)})', name):
            series.setdefault(match[1], {})[int(match[2])] = path
    for path in sorted(found(folder, folder, _PICTURES), key=lambda path: path.stem == 'curves'):  # the page has better
        name = _name(folder, path)
        if name not in moving:
            series[name] = {0: path}
    return {name: dict(sorted(frames.items())) for name, frames in series.items()}


def films(folder: Path) -> dict[str, Path]:
    """Films by name."""
    return {_name(folder, path): path for path in found(folder, folder, _FILMS)}


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix('').as_posix().replace('overlays/', '')


def spread(frames: Frames, most: int) -> Frames:
    """At most so many pictures of a series, the first and the last among them."""
    steps = list(frames)
    chosen = sorted(set(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int).tolist()))
    return {steps[index]: frames[steps[index]] for index in chosen}


def picture_as_webp(path: Path) -> bytes:
    """A picture, made smaller if it is wide.

    Raises:
        ValueError: If it is damaged, or no picture.
    """
    try:
        with Image.open(path, formats=('PNG', 'JPEG', 'WEBP')) as image:
            shown = image.convert('RGB')
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} is no whole picture: {error}') from error
    shown.thumbnail((_WIDTH, 10 * _WIDTH), Image.Resampling.LANCZOS)
    return _webp([shown])


def film_as_webp(path: Path) -> tuple[bytes, bytes]:
    """A film as an animated WebP, which every browser plays, and its first frame. OpenCV's own MPEG-4 none plays.

    Raises:
        ValueError: If it is damaged, no film, or its name is not UTF-8.
    """
    str(path).encode()  # OpenCV ends the program at a name that is not UTF-8; this is a ValueError
    film = cv2.VideoCapture(str(path))
    every = max(1, -(-int(film.get(cv2.CAP_PROP_FRAME_COUNT)) // _FRAMES))
    told = film.get(cv2.CAP_PROP_FPS)
    frames_per_second = told if told > 0 else 24.0
    frames: list[Image.Image] = []
    number = 0
    while len(frames) < _FRAMES and film.grab():
        if number % every == 0:
            read, frame = film.retrieve()
            if read:
                shown = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                shown.thumbnail((_FILM_WIDTH, 4 * _FILM_WIDTH), Image.Resampling.LANCZOS)
                frames.append(shown)
        number += 1
    film.release()
    if not frames:
        raise ValueError(f'{path} is no film that OpenCV reads.')
    return _webp(frames, max(20, round(1000 * every / frames_per_second))), _webp(frames[:1])


def _webp(frames: list[Image.Image], milliseconds: int = 100) -> bytes:
    out = io.BytesIO()
    several = dict(save_all=True, append_images=frames[1:], duration=milliseconds, loop=0) if len(frames) > 1 else {}
    frames[0].save(out, 'WEBP', quality=_QUALITY, method=4, **several)
    return out.getvalue()
