"""Images with objects: masks, boxes, or neither, for evaluators of attention, saliency and discovery."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from mmengine.logging import print_log

from dino_plugin.data.images.decoding import check_header, image_size, read_image
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.label_masks import labels_in, read_mask
from dino_plugin.data.images.user_files import expanded
from dino_plugin.evaluation.objects.boxes import (
    AnnotatedImage,
    Boxes,
    boxes_around,
    checked_boxes,
    read_coco_boxes,
    read_voc_boxes,
)
from dino_plugin.evaluation.objects.files import chosen, images_in, images_named, listed, partners, refuse_missing

VOID = 255
LABELS = ('each', 'one', 'bright')


@dataclass(frozen=True, eq=False)
class ObjectImage:
    """An image and its objects; files are read when they are asked for.

    Args:
        name: Path below the folder of images, without its ending.
        path: The image.
        size: Its rows and columns, upright.
        mask_path: An indexed PNG of this size, or None.
        labels: What a label in the mask means, see `ObjectDataset`.
        annotated: What an annotation says about boxes; None: the boxes are those around the masks.
        max_pixels: Largest number of pixels that the image may have.
    """

    name: str
    path: Path
    size: tuple[int, int]
    mask_path: Path | None = None
    labels: str = 'each'
    annotated: AnnotatedImage | None = field(default=None, repr=False)
    max_pixels: int = MAX_PIXELS

    def read_image(self) -> UInt8[np.ndarray, 'rows columns 3']:
        """RGB pixels, upright.

        Raises:
            UndecodableImageError: If the file is damaged; the message names it.
        """
        return read_image(self.path, max_pixels=self.max_pixels)

    @property
    def has_boxes(self) -> bool:
        """Whether there is something to compare boxes with: an annotation, or masks."""
        return self.annotated is not None or self.mask_path is not None

    def read_labels(self) -> UInt8[np.ndarray, 'rows columns']:
        """0 for the background, 1, 2, 3 … for the objects, 255 for void: pixels that are neither.

        Raises:
            ValueError: If there is no mask, or its labels are not of the kind that `labels` says.
        """
        if self.mask_path is None:
            raise ValueError(f'{self.path} has no mask: give masks=FOLDER to the data set.')
        stored = read_mask(self.mask_path, self.max_pixels)
        if self.labels == 'bright':
            return (stored > 127).astype(np.uint8)
        found = labels_in(stored)
        if set(found) - {0} == {VOID}:
            raise ValueError(
                f'{self.mask_path} has the labels {found} only: 255 is void, so there is no object. '
                "Set labels='bright' if white is the object."
            )
        if self.labels == 'one':
            return np.where(stored == VOID, stored, stored > 0).astype(np.uint8)
        return stored

    def read_masks(self) -> Bool[np.ndarray, 'objects rows columns']:
        """The mask of each object, in the order of their labels; none if all is background.

        Raises:
            ValueError: As `read_labels`.
        """
        labels = self.read_labels()
        objects = [label for label in labels_in(labels) if label not in (0, VOID)]
        return labels == np.array(objects, np.uint8).reshape(-1, 1, 1)

    def read_boxes(self) -> Boxes:
        """The box of each object in pixels (left, top, right, bottom): as annotated, or around the masks.

        Raises:
            ValueError: As `read_labels`; if the image has neither boxes nor masks.
        """
        return boxes_around(self.read_masks()) if self.annotated is None else self.annotated.boxes


class ObjectDataset:
    """A folder of images, with masks or boxes of their objects where they are known.

    An item is an `ObjectImage`. Layouts that fit:

    - any folder: ``images='photographs'``, perhaps with ``masks='drawn'``, a folder of indexed PNG of the same names
    - VOC: ``images='JPEGImages'``, ``masks='SegmentationObject'``, ``names='ImageSets/Segmentation/val.txt'``; or
      ``boxes='Annotations'``, ``names='ImageSets/Main/trainval.txt'``
    - COCO: ``images='train2017'``, ``boxes='annotations/instances_train2017.json'``
    - DAVIS: ``images='JPEGImages/480p'``, ``masks='Annotations/480p'``
    - saliency: ``images='DUTS-TE-Image'``, ``masks='DUTS-TE-Mask'``, ``labels='bright'``

    Headers of all files are checked at the start. Folders are searched at any depth; names are in natural order:
    2.jpg comes before 10.jpg.

    Args:
        data_root: Folder that the other paths begin in.
        images: Folder of the images.
        masks: Folder of the masks: for each image an indexed or grey PNG of its name and size.
        boxes: Folder of VOC's XML files of the images' names, or COCO's JSON file, whose images are then taken. None:
            the boxes are those around the masks.
        names: Text list of the images to take, in its order: names below ``images``, with or without their ending.
        labels: What labels in masks mean. ``'each'``: each label is an object, 0 background, 255 void. ``'one'``: all
            objects are one. ``'bright'``: white is the object, above 127 of 255, as in data sets of saliency.
        indices: Take the first so many images, or those at these places.
        max_pixels: Largest number of pixels, rows times columns, that an image or mask may have.

    Raises:
        FileNotFoundError: If a folder, list or annotation is missing, or a file that a list names.
        ValueError: If there is no image, or images, masks and boxes do not fit each other; the file is named.
    """

    def __init__(
        self,
        data_root: str | os.PathLike = '',
        images: str | os.PathLike = '',
        masks: str | os.PathLike | None = None,
        boxes: str | os.PathLike | None = None,
        names: str | os.PathLike | None = None,
        labels: str = 'each',
        indices: int | Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if labels not in LABELS:
            raise ValueError(f'ObjectDataset: labels must be one of {list(LABELS)}, got {labels!r}.')
        if not data_root and not images:
            raise ValueError('ObjectDataset needs images: give data_root or images, a folder.')
        self.root = Path(expanded(data_root, 'data_root'))
        self.images, self.masks, self.boxes = (
            None if path is None else self._existing(path, name)
            for name, path in dict(images=images, masks=masks, boxes=boxes).items()
        )
        names_listed = None if names is None else listed(self._existing(names, 'names'))
        coco = read_coco_boxes(self.boxes) if self.boxes is not None and self.boxes.is_file() else None
        paths = images_in(self.images) if coco is None else images_named(coco, self.images)
        chosen_names = chosen(list(paths), names_listed, indices, self.images)
        refuse_missing([paths[name] for name in chosen_names], f'images that {boxes} names', self.images)
        masks_of = {} if self.masks is None else partners(chosen_names, self.masks, '.png')
        voc = {} if coco is not None or self.boxes is None else partners(chosen_names, self.boxes, '.xml')
        boxes_of = {name: read_voc_boxes(path) for name, path in voc.items()} if coco is None else _by_stem(coco)
        self.items = [
            _checked(ObjectImage(
                name, paths[name], image_size(paths[name], max_pixels), masks_of.get(name), labels, boxes_of.get(name),
                max_pixels,
            ), self.boxes)
            for name in chosen_names
        ]  # fmt: skip
        self.metainfo: dict = {}  # mmengine warns without it
        known = [word for word, given in (('masks', masks), ('boxes', boxes)) if given is not None]
        what = f'with {" and ".join(known)}' if known else 'without masks or boxes'
        print_log(f'{len(self.items)} images in {self.images}, {what}', logger='current')

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> ObjectImage:
        return self.items[index]

    def _existing(self, path: str | os.PathLike, name: str) -> Path:
        found = self.root / expanded(path, name)
        if found.is_dir() if name in ('images', 'masks') else found.is_file() or (name == 'boxes' and found.is_dir()):
            return found
        kinds = dict(images='a folder of images', masks='a folder of indexed PNG', names='a text list of images')
        kind = kinds.get(name, "a folder of VOC's XML files or COCO's JSON file")
        raise FileNotFoundError(f'{name} is not {kind}: {found} (working directory: {os.getcwd()}). Correct {name}.')


def _by_stem(annotations: dict[str, AnnotatedImage]) -> dict[str, AnnotatedImage]:
    return {Path(name).with_suffix('').as_posix(): annotated for name, annotated in annotations.items()}


def _checked(item: ObjectImage, boxes: Path | None) -> ObjectImage:
    """The item with boxes cut at the edges of the image, if mask and boxes fit the image."""
    if item.mask_path is not None:
        size = check_header(item.mask_path, item.max_pixels)
        if tuple(size) != item.size:
            raise ValueError(
                f'{item.mask_path} has {size[1]} x {size[0]} pixels, {item.path} has {item.size[1]} x {item.size[0]} '
                '(after its EXIF orientation, if any). Resize the mask by nearest neighbour: labels must stay labels.'
            )
    if item.annotated is None:
        return item
    found = checked_boxes(item.annotated, item.size, f'{boxes}, {item.name}')
    return replace(item, annotated=AnnotatedImage(item.size, found))
