"""Where the time of a worker goes: decoding, resizing and colours alone, ours and Pillow's, for the same parameters."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torchvision.datasets.folder import pil_loader

from dino_plugin.benchmark.harness import Candidate
from dino_plugin.benchmark.pillow_views import pillow_colours, pillow_resized
from dino_plugin.benchmark.report import Report
from dino_plugin.data.images.decoding import decode_image
from dino_plugin.data.multi_crop import NUM_GLOBAL, MultiCrop, ViewParameters
from dino_plugin.data.views.colour import apply_colour_change

RECIPE = dict(global_size=224, global_scale=(0.4, 1.0), local_size=96, local_scale=(0.05, 0.4))


class Work(NamedTuple):
    """One decoded image, for OpenCV and for Pillow, and what was drawn for it."""

    image: np.ndarray
    pillow: Image.Image
    drawn: list[ViewParameters]


def profile(report: Report, chunks: Sequence[Sequence[str]], num_local: int) -> None:
    """Three comparisons, over the images of one chunk a round.

    Args:
        report: Takes them.
        chunks: Of paths.
        num_local: Local views of an image.
    """
    crop = MultiCrop(num_local=num_local, photometric='none', **RECIPE)
    sizes = [crop.global_size] * NUM_GLOBAL + [crop.local_size] * num_local
    works = [[_draw(crop, path) for path in chunk] for chunk in chunks[: report.options.rounds]]

    def resize_ours(work: Work) -> None:
        crop.draw = lambda *_: iter(work.drawn)
        crop.blocks(work.image)

    def resize_pillow(work: Work) -> None:
        for view, size in zip(work.drawn, sizes):
            pillow_resized(work.pillow, view.box, size)

    actions = dict(
        decode=(_over(chunks, pil_loader), _over(chunks, lambda path: decode_image(Path(path).read_bytes()))),
        resize=(_over(works, resize_pillow), _over(works, resize_ours)),
        colours=_colour_actions(works[0][0], sizes, len(chunks[0])),
    )
    for name, (theirs, ours) in actions.items():
        named = (f'pillow_{name}', theirs, 'Pillow'), (f'profile_{name}', ours, 'ours')
        pair = [Candidate(*entry, len(chunks[0])) for entry in named]
        report.compare(f'{name.capitalize()} alone', pair, unit='image', baseline=pair[0].name, section='profile')


def _colour_actions(work: Work, sizes: Sequence[tuple[int, int]], times: int) -> tuple[Callable, Callable]:
    """Pillow's and ours: the views of one image, coloured so many times, each time in another way."""
    views = [pillow_resized(work.pillow, view.box, size) for view, size in zip(work.drawn, sizes)]
    pixels = [np.array(view) for view in views]
    coloured = MultiCrop(num_local=len(sizes) - NUM_GLOBAL, **RECIPE)
    changes = [[view.colour for view in coloured.draw(*work.image.shape[:2])] for _ in range(times)]

    def theirs(_: int) -> None:
        for change in changes:
            for view, colour in zip(views, change):
                pillow_colours(view, colour)

    def ours(_: int) -> None:
        for change in changes:
            for view, colour in zip(pixels, change):
                apply_colour_change(view.copy(), colour)

    return theirs, ours


def _draw(crop: MultiCrop, path: str) -> Work:
    image = decode_image(Path(path).read_bytes())
    return Work(image, Image.fromarray(image), list(crop.draw(*image.shape[:2])))


def _over(chunks: Sequence[Sequence], action: Callable) -> Callable[[int], None]:
    def run_chunk(number: int) -> None:
        for entry in chunks[number % len(chunks)]:
            action(entry)

    return run_chunk
