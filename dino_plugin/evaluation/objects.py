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
from dino_plugin.data.images.image_dataset import EXTENSIONS, find_images, missing_files
from dino_plugin.data.images.label_masks import labels_in, read_mask
from dino_plugin.data.images.user_files import expanded, natural_key, read_lines
from dino_plugin.evaluation.object_boxes import (
    AnnotatedImage,
    Boxes,
    boxes_around,
    checked_boxes,
    read_coco_boxes,
    read_voc_boxes,
)

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
        listed = None if names is None else _listed(self._existing(names, 'names'))
        coco = read_coco_boxes(self.boxes) if self.boxes is not None and self.boxes.is_file() else None
        paths = _images_in(self.images) if coco is None else _images_named(coco, self.images)
        chosen = _chosen(list(paths), listed, indices, self.images)
        missing = missing_files([str(paths[name]) for name in chosen])
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(chosen)} images that {boxes} names are not in {self.images} (first: '
                f'{missing[0]}). Correct images, or take the others by a list: names=FILE.'
            )
        masks_of = {} if self.masks is None else _partners(chosen, self.masks, '.png')
        voc = {} if coco is not None or self.boxes is None else _partners(chosen, self.boxes, '.xml')
        boxes_of = {name: read_voc_boxes(path) for name, path in voc.items()} if coco is None else _by_stem(coco)
        self.items = [
            _checked(ObjectImage(
                name, paths[name], image_size(paths[name], max_pixels), masks_of.get(name), labels, boxes_of.get(name),
                max_pixels,
            ), self.boxes)
            for name in chosen
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


def _images_in(folder: Path) -> dict[str, Path]:
    """Path of each image below a folder by its name there, in natural order."""
    found, _ = find_images(str(folder))
    if not found:
        raise ValueError(f'no image in {folder} or below: looked for {" ".join(EXTENSIONS)}.')
    return _unique(sorted((Path(path) for path in found), key=lambda path: natural_key(str(path))), folder)


def _images_named(annotations: dict[str, AnnotatedImage], folder: Path) -> dict[str, Path]:
    """The same of the images that a file of COCO names, in its order."""
    return _unique([folder / name for name in annotations], folder)


def _unique(paths: list[Path], folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix('').as_posix()
        if name in named:
            raise ValueError(f'{named[name]} and {path.name} differ in their ending only: keep one of them.')
        named[name] = path
    return named


def _by_stem(annotations: dict[str, AnnotatedImage]) -> dict[str, AnnotatedImage]:
    return {Path(name).with_suffix('').as_posix(): annotated for name, annotated in annotations.items()}


def _listed(path: Path) -> list[str]:
    """The first word of each line: VOC's lists of a class have a second one."""
    names = [line.split()[0] for _, line in read_lines(path)]
    if len(set(names)) < len(names):
        raise ValueError(f'{path} names an image twice: it would count twice. Remove one of the lines.')
    return names


def _chosen(names: list[str], listed: list[str] | None, indices: int | Sequence[int] | None, folder: Path) -> list[str]:
    if listed is not None:
        known = set(names)
        names = [name if name in known else Path(name).with_suffix('').as_posix() for name in listed]
        missing = [name for name in names if name not in known]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(names)} listed images are not in {folder}, or not in the annotation '
                f'(first: {missing[0]}). Names are taken below images, with or without their ending.'
            )
    if indices is not None:
        wanted = range(len(names))[:indices] if isinstance(indices, int) else indices
        outside = [index for index in wanted if not -len(names) <= index < len(names)]
        if outside:
            raise ValueError(f'indices has {outside[0]}, but there are {len(names)} images in {folder}, from 0 on.')
        names = [names[index] for index in wanted]
    if not names:
        raise ValueError(f'no image of {folder} is chosen: correct names or indices.')
    return names


def _partners(names: list[str], folder: Path, ending: str) -> dict[str, Path]:
    """The file of each image's name in another folder."""
    paths = {name: folder / f'{name}{ending}' for name in names}
    missing = missing_files([str(path) for path in paths.values()])
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} images have no {ending} file of their name in {folder} (first: '
            f'{missing[0]}). Take the others by a list: names=FILE.'
        )
    return paths


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
