"""Boxes of objects: from VOC's XML, from COCO's JSON, and around masks.

A box is (left, top, right, bottom): its edges in pixels, so that its width is right - left.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool, Float

from dino_plugin.data.images.user_files import announce

Boxes = Float[np.ndarray, 'boxes 4']
ROUNDING = 1.0  # pixels; files of COCO and VOC cross the edge of an image by fractions


class AnnotatedImage(NamedTuple):
    """The boxes of an image, and its rows and columns as the annotation says (None if it does not)."""

    size: tuple[int, int] | None
    boxes: Boxes


def boxes_around(masks: Bool[np.ndarray, 'masks rows columns']) -> Boxes:
    """The smallest box around the pixels of each mask.

    Raises:
        ValueError: If a mask has no pixel.
    """
    empty = np.flatnonzero(~masks.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f'mask {empty[0]} of {len(masks)} has no pixel, so there is no box around it: leave it out.')
    edges = []
    for axis in (1, 2):  # over the rows: which columns have a pixel; over the columns: which rows have one
        used = masks.any(axis=axis)
        edges += [used.argmax(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1)]
    return np.stack([edges[0], edges[2], edges[1], edges[3]], axis=1).astype(np.float64).reshape(-1, 4)


def read_voc_boxes(path: str | os.PathLike) -> AnnotatedImage:
    """The boxes of an XML file of Pascal VOC, difficult and truncated objects too.

    VOC counts pixels from 1 and includes the last one, so left and top become one less.

    Raises:
        ValueError: If the file is not such an XML file; the message names it.
    """
    announce(path)
    try:
        root = ElementTree.parse(path).getroot()
        size = root.find('size')
        found = [
            [float(box.findtext(name)) for name in ('xmin', 'ymin', 'xmax', 'ymax')]
            for box in (thing.find('bndbox') for thing in root.iterfind('object'))
        ]
        size = None if size is None else (int(size.findtext('height')), int(size.findtext('width')))
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is not an annotation of Pascal VOC ({error}): expected XML with <object><bndbox><xmin>, <ymin>, '
            '<xmax>, <ymax> for each object.'
        ) from error
    return AnnotatedImage(size, np.array(found, dtype=np.float64).reshape(-1, 4) - [1, 1, 0, 0])


def read_coco_boxes(path: str | os.PathLike) -> dict[str, AnnotatedImage]:
    """The boxes of a JSON file of COCO, by file name, in its order. Crowds (``iscrowd``) are left out.

    Raises:
        ValueError: If the file is not such a JSON file, or an annotation belongs to no image; the message names it.
    """
    announce(path)
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        boxes: dict[Any, list] = defaultdict(list)
        for annotation in content['annotations']:
            if not annotation.get('iscrowd'):
                left, top, width, height = map(float, annotation['bbox'])
                boxes[annotation['image_id']].append([left, top, left + width, top + height])
        images = {image['id']: image for image in content['images']}
        found = {
            str(image['file_name']): AnnotatedImage(_size(image), np.array(boxes[number], np.float64).reshape(-1, 4))
            for number, image in images.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # JSON and Unicode raise ValueErrors
        raise ValueError(
            f'{path} is not an annotation of COCO ({type(error).__name__}: {error}): expected JSON with images (id, '
            'file_name) and annotations (image_id, bbox=[left, top, width, height]).'
        ) from error
    strangers = [number for number in boxes if number not in images]
    if strangers:
        raise ValueError(
            f'{path}: {len(strangers)} image_id of annotations are of no image (first: {strangers[0]!r}). Correct them.'
        )
    return found


def _size(image: dict) -> tuple[int, int] | None:
    return (int(image['height']), int(image['width'])) if 'height' in image and 'width' in image else None


def checked_boxes(annotated: AnnotatedImage, size: tuple[int, int], place: str) -> Boxes:
    """The boxes, cut at the edges of the image.

    Args:
        annotated: What the annotation says.
        size: Rows and columns of the image.
        place: Names file and image in messages.

    Raises:
        ValueError: If the annotation is of an image of another size, or a box is empty, not finite, or more than one
            pixel outside the image.
    """
    rows, columns = size
    if annotated.size not in (None, size):
        raise ValueError(
            f'{place}: the boxes are of an image of {annotated.size[1]} x {annotated.size[0]} pixels, but it has '
            f'{columns} x {rows} (after its EXIF orientation, if any). Annotate the image as it is.'
        )
    boxes = annotated.boxes
    limits = np.array([columns, rows, columns, rows], dtype=np.float64)
    inside = (boxes >= -ROUNDING) & (boxes <= limits + ROUNDING)  # False for nan
    cut = boxes.clip(0, limits)
    wrong = ~inside.all(axis=1) | ~(cut[:, 2:] > cut[:, :2]).all(axis=1)
    if wrong.any():
        raise ValueError(
            f'{place}: box {boxes[wrong][0].tolist()} (left, top, right, bottom) is empty or outside the image of '
            f'{columns} x {rows} pixels. Correct the annotation.'
        )
    return cut
