"""Which images a data set of objects has, their files in other folders, and their sizes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dino_plugin.data.images.decoding import check_header, image_size
from dino_plugin.data.images.file_structure import Size
from dino_plugin.data.images.image_files import EXTENSIONS, find_images, missing_files
from dino_plugin.data.images.user_files import natural_key, read_lines


def images_in(folder: Path) -> dict[str, Path]:
    """Path of each image below a folder by its name there, without its ending, in natural order.

    Raises:
        ValueError: If there is none, or two share a name.
    """
    found, _ = find_images(str(folder))
    if not found:
        raise ValueError(f'no image in {folder} or below: looked for {" ".join(EXTENSIONS)}.')
    return _unique(sorted((Path(path) for path in found), key=lambda path: natural_key(str(path))), folder)


def images_named(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """The same of the images that a file of COCO names, in its order."""
    return _unique([folder / name for name in names], folder)


def _unique(paths: list[Path], folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix('').as_posix()
        if name in named:
            raise ValueError(f'{named[name]} and {path.name} differ in their ending only: keep one of them.')
        named[name] = path
    return named


def listed(path: Path) -> list[str]:
    """The names in a text list: the first word of each line, since VOC's lists of a class have a second one.

    Raises:
        ValueError: If a name stands there twice.
    """
    names = [line.split()[0] for _, line in read_lines(path)]
    if len(set(names)) < len(names):
        raise ValueError(f'{path} names an image twice: it would count twice. Remove one of the lines.')
    return names


def chosen(names: list[str], listed: list[str] | None, indices: int | Sequence[int] | None, folder: Path) -> list[str]:
    """The names that a list and places among them choose.

    Raises:
        FileNotFoundError: If the list names others.
        ValueError: If there is no such place, or nothing is chosen.
    """
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


def partners(names: list[str], folder: Path, ending: str) -> dict[str, Path]:
    """The file of each image's name in another folder.

    Raises:
        FileNotFoundError: If some are missing.
    """
    paths = {name: folder / f'{name}{ending}' for name in names}
    refuse_missing(list(paths.values()), f'{ending} files of the names of the images', folder)
    return paths


def refuse_missing(paths: list[Path], what: str, folder: Path) -> None:
    """Raise a FileNotFoundError if some of the files are not there; the first one is named."""
    missing = missing_files([str(path) for path in paths])
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} {what} are not in {folder} (first: {missing[0]}). Correct the folder, or '
            'take the others by a list: names=FILE.'
        )


def loaded_size(steps: Iterable[Any], path: str | Path, max_pixels: int) -> Size:
    """Rows and columns of an image as the loader among the steps of a pipeline gives it.

    mmcv's backends cv2 and pillow turn an image as its EXIF data say (cv2 not AVIF), turbojpeg and tifffile do not, nor
    does ``color_type='color_ignore_orientation'``. So where the turn matters, the image is loaded.

    Raises:
        UndecodableImageError: If the file is not an image, or claims more pixels; the message names it.
    """
    stored, upright = check_header(path, max_pixels), image_size(path, max_pixels)
    loader = next((step for step in steps if type(step).__name__.startswith('LoadImage')), None)
    if stored == upright or loader is None:
        return upright
    return loader({'img_path': str(path)})['img'].shape[:2]
