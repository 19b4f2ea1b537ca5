"""Sizes in a file of COCO's format, compared with the image files before training begins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from dino_plugin.data.images.decoding import check_header, image_size
from dino_plugin.data.images.file_structure import Size
from dino_plugin.data.images.headers import MAX_PIXELS, UnknownFormatError
from dino_plugin.evaluation.objects.files import loaded_size

NUM_READ = 2000  # headers, which is a matter of a second on a local disk


def refuse_other_sizes(list_path: str, images: Sequence[dict[str, Any]], folder: Path, steps: Sequence[Any]) -> None:
    """Compare ``width`` and ``height`` with what the pipeline's loader gives: boxes are pixels of that image.

    Headers are read, of at most `NUM_READ` images, evenly spread. The first image that EXIF data turn is loaded, and
    the first of each other ending: loaders turn, or not. A file of no known format is left to the loader.

    Raises:
        UndecodableImageError: If an image claims more pixels than the steps allow; the message names it.
        ValueError: If a size differs; the message has both.
    """
    limit = next((step.max_pixels for step in steps if hasattr(step, 'max_pixels')), MAX_PIXELS)
    places = np.linspace(0, len(images) - 1, min(NUM_READ, len(images)), dtype=int).tolist()
    turned: dict[str, bool] = {}  # ending -> whether the loader turns
    for image in (images[place] for place in places):
        path, said = folder / image['file_name'], (image['height'], image['width'])
        try:
            stored, upright = check_header(path, limit), image_size(path, limit)
        except UnknownFormatError:
            continue
        if stored != upright and path.suffix not in turned:
            turned[path.suffix] = loaded_size(steps, path, limit) == upright
        size = upright if turned.get(path.suffix) else stored
        if said != size:
            raise ValueError(
                f'{path} has {_text(size)} pixels as it is loaded, but "width" and "height" of {list_path} say '
                f'{_text(said)}, and boxes are in these pixels. {_cure(said, stored, upright)}'
            )
    if len(places) < len(images):
        print_log(f'{list_path}: sizes compared with {len(places)} of {len(images)} files, evenly spread', 'current')


def _cure(said: Size, stored: Size, upright: Size) -> str:
    if said == upright != stored:
        return "Its EXIF data turn it, the loader does not: set LoadImageFromFile(color_type='color')."
    if said == stored:
        return (
            'Its EXIF data turn it, which the annotations do not follow: set '
            "LoadImageFromFile(color_type='color_ignore_orientation') in all pipelines, or annotate the upright image."
        )
    return 'Take the images that were annotated, or scale the boxes and correct the sizes.'


def _text(size: Size) -> str:
    return f'{size[1]} x {size[0]}'
