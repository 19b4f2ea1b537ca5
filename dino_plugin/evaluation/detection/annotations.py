"""Boxes in a file of COCO's format, checked before training begins."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

LISTS = ('images', 'annotations', 'categories')


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """The file's content; where a box lacks ``area`` or ``iscrowd``, that of the whole box and 0 are filled in.

    Boxes are numbered anew, from 1.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not JSON of COCO's format, lists no image or class, uses a number twice, has an image
            without a size, or a box that is not four numbers, is of a class that the file does not list, or of an image
            that it does not list.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} does not exist. Correct data_root, ann_file or class_file.')
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    _check_lists(path, content)
    images, classes = ({entry['id'] for entry in content[name]} for name in ('images', 'categories'))
    boxes = content['annotations']
    _refuse(
        path, [box for box in boxes if not _is_box(box.get('bbox'))], 'with a "bbox" other than [x, y, width, height]'
    )
    _refuse(
        path, [box for box in boxes if box.get('image_id') not in images], 'with an "image_id" that is not in "images"'
    )
    unknown = [box for box in boxes if box.get('category_id') not in classes]
    _refuse(path, unknown, f'with a "category_id" that is not in "categories", which has {_some(sorted(classes))}')
    for number, box in enumerate(boxes, start=1):
        box['id'] = number  # pycocotools takes a box with the number 0 for none
        box.setdefault('area', box['bbox'][2] * box['bbox'][3])
        box.setdefault('iscrowd', 0)
    return content


def class_names(content: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes, in the order of the file."""
    return tuple(category['name'] for category in content['categories'])


def has_area(box: dict[str, Any]) -> bool:
    """Whether width and height are a pixel or more; mmdetection does not train on others."""
    _, _, width, height = box['bbox']
    return width >= 1 and height >= 1 and box['area'] > 0


def outside(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Boxes with an area, of which no part lies in their image; mmdetection does not train on them, either."""
    images = {image['id']: image for image in content['images']}
    return [box for box in content['annotations'] if has_area(box) and not _touches(box, images[box['image_id']])]


def _touches(box: dict[str, Any], image: dict[str, Any]) -> bool:
    x, y, width, height = box['bbox']
    return x < image['width'] and y < image['height'] and x + width > 0 and y + height > 0


def sorted_as(classes: Sequence[str], content: dict[str, Any]) -> dict[str, Any]:
    """The content with these classes alone, in this order, also those that the file does not list.

    Labels count the classes; so they mean the same in the files for training and for tests.
    """
    listed = {category['name']: category for category in content['categories']}
    unused = max((category['id'] for category in content['categories']), default=0) + 1
    categories = [listed.get(name, dict(id=unused + place, name=name)) for place, name in enumerate(classes)]
    kept = {category['id'] for category in categories}
    boxes = [box for box in content['annotations'] if box['category_id'] in kept]
    return dict(content, categories=categories, annotations=boxes)


def summary(classes: Sequence[str], content: dict[str, Any]) -> str:
    """How many images, boxes and classes there are, and what is left out without a word by others."""
    names = {category['id']: category['name'] for category in content['categories']}
    found = Counter(names[box['category_id']] for box in content['annotations'])
    boxes = [box for box in content['annotations'] if names[box['category_id']] in set(classes)]
    text = f'{len(content["images"])} images, {len(boxes)} boxes of {len(found.keys() & set(classes))} classes'
    if empty := [name for name in classes if not found[name]]:
        text += f'; without a box: {_some(empty)}'
    if others := [name for name in found if name not in set(classes)]:
        text += f'; left out: {sum(found[name] for name in others)} boxes of classes not trained, {_some(others)}'
    if flat := sum(not has_area(box) for box in boxes):
        text += f'; boxes less than a pixel wide or high, left out of training, missed in a test: {flat}'
    if beyond := len(outside(dict(content, annotations=boxes))):
        text += f'; boxes outside of their image, left out of training, missed in a test: {beyond}'
    if crowds := sum(bool(box['iscrowd']) for box in boxes):
        text += f'; boxes of crowds, neither right nor wrong: {crowds}'
    without = len({image['id'] for image in content['images']} - {box['image_id'] for box in boxes})
    return text + (f'; images without a box, which training leaves out: {without}' if without else '')


def _check_lists(path: str | os.PathLike, content: Any) -> None:
    missing = [name for name in LISTS if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if missing:
        raise ValueError(f"{path} is not of COCO's format: a dict with the lists {LISTS}; without {missing}.")
    for name, needed in (('images', 'id file_name width height'), ('categories', 'id name')):
        entries = content[name]
        _refuse(
            path, [entry for entry in entries if not set(needed.split()) <= set(entry)], f'without one of: {needed}'
        )
        if not entries:
            raise ValueError(f'{path} has no {name}: its list "{name}" is empty.')
        sides = [entry for entry in entries if name == 'images' and not _is_size(entry['width'], entry['height'])]
        _refuse(path, sides, 'whose "width" or "height" is not a number of pixels')
        for key in {'id', 'name'} & set(needed.split()):
            twice = [value for value, number in Counter(entry[key] for entry in entries).items() if number > 1]
            if twice:
                raise ValueError(f'{path}: "{name}" uses each {key} once, but {_some(twice)} more than once.')


def _is_size(*sides: Any) -> bool:
    return all(isinstance(side, int | float) and 0 < side < math.inf for side in sides)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, int | float) and math.isfinite(value) for value in box)
    )


def _refuse(path: str | os.PathLike, wrong: Sequence[dict], what: str) -> None:
    if wrong:
        shown = {key: value for key, value in wrong[0].items() if key != 'segmentation'}
        raise ValueError(f'{path}: {len(wrong)} entries {what}; the first is {shown}.')


def _some(values: Iterable[Any], number: int = 8) -> str:
    values = list(values)
    return ', '.join(map(str, values[:number])) + (f' and {len(values) - number} more' if len(values) > number else '')
