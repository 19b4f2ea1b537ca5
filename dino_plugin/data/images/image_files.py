"""Which images there are: below a folder, in class folders, in a text list."""

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from dino_plugin.data.images.user_files import expanded, is_file, is_folder, list_folder, read_lines

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp')


class Found(NamedTuple):
    """Images, and what else there was.

    Attributes:
        samples: `img_path` and, with classes, `gt_label` of each.
        classes: Names of the classes in the order of their labels; empty without.
        empty: Classes without an image.
        num_others: Other files in the folders.
    """

    samples: list[dict]
    classes: tuple[str, ...]
    empty: list[str]
    num_others: int


def find_images(
    folder: str, extensions: tuple[str, ...] = EXTENSIONS, visited: set[tuple[int, int]] | None = None
) -> tuple[list[str], int]:
    """Paths of the images below a folder, sorted folder by folder, and the number of other files there.

    Args:
        folder: Links below it are followed, but no folder is visited twice.
        extensions: Endings of images, in small letters.
        visited: Devices and inodes of folders that are left out; those of this call are added. So of several folders,
            one of which lies in another, no image is found twice.
    """
    paths: list[str] = []
    num_others = 0
    visited = set() if visited is None else visited

    def scan(directory: str, status: os.stat_result) -> None:
        nonlocal num_others
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        for entry in list_folder(directory):
            if is_folder(entry):
                scan(entry.path, entry.stat())
            elif _is_image(entry.name, extensions) and is_file(entry):
                paths.append(entry.path)
            else:
                num_others += 1

    scan(folder, os.stat(folder))
    return paths, num_others


def find_classes(root: str, classes: Sequence[str] | None, extensions: tuple[str, ...]) -> Found:
    """The images of class folders: each sub-folder of the first level is a class.

    Args:
        root: The folder of the class folders.
        classes: Their order gives the labels; None: the sorted names of the folders.
        extensions: Endings of images, in small letters.

    Raises:
        ValueError: If images lie beside the folders, a folder is not among the classes, or there is no image.
    """
    entries = list_folder(root)
    loose = [entry.name for entry in entries if _is_image(entry.name, extensions) and is_file(entry)]
    if loose:
        raise ValueError(
            f'with_labels=True takes the sub-folders of {root} as classes, but {len(loose)} images are in none of '
            f'them ({first(loose)}). Move them into class folders, or set with_labels=False.'
        )
    folders = [entry.name for entry in entries if is_folder(entry)]
    classes = folders if classes is None else list(classes)
    unknown = sorted(set(folders) - set(classes))
    if unknown:
        raise ValueError(
            f"{len(unknown)} sub-folders of {root} are not in metainfo['classes'] ({first(unknown)}): "
            'name every folder there, or leave the classes out to take the sorted folder names.'
        )
    samples, empty, num_others = [], [], 0
    for label, name in enumerate(classes):
        paths, others = find_images(os.path.join(root, name), extensions) if name in folders else ([], 0)
        samples += [dict(img_path=path, gt_label=label) for path in paths]
        num_others += others
        if not paths:
            empty.append(name)
    refuse_empty(root, samples, num_others, extensions)
    return Found(samples, tuple(classes), empty, num_others)


def read_image_list(path: str, root: str, with_labels: bool) -> list[dict]:
    """The images that a text list names, with their labels if asked.

    Args:
        path: The list, see `ImageDataset`.
        root: Folder of relative paths.
        with_labels: Whether each line ends in a label.

    Raises:
        ValueError: If it names no image, or a label is missing or malformed.
    """
    samples = []
    for number, line in read_lines(path):
        if line.startswith('#'):
            continue
        if with_labels:
            name, label = _split_label(line, f'line {number} of {path}')
            samples.append(dict(img_path=os.path.join(root, expanded(name)), gt_label=label))
        else:
            samples.append(dict(img_path=os.path.join(root, expanded(line))))
    if not samples:
        raise ValueError(f'{path} names no image: expected one path in each line')
    return samples


def missing_files(paths: list[str]) -> list[str]:
    """The paths that do not exist. Listing each folder once is faster than a look at each file."""
    names_of: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        directory, name = os.path.split(path)
        names_of[directory].add(name)
    absent = set()
    for directory, names in names_of.items():
        try:
            absent |= {os.path.join(directory, name) for name in names.difference(os.listdir(directory or '.'))}
        except (FileNotFoundError, NotADirectoryError):
            absent |= {os.path.join(directory, name) for name in names}
    return [path for path in paths if path in absent and not os.path.exists(path)]


def refuse_empty(folder: str, found: list, num_others: int, extensions: tuple[str, ...]) -> None:
    """Raise a ValueError if nothing was found; it says what was looked for."""
    if not found:
        raise ValueError(
            f'no image in {folder} or below: looked for {" ".join(extensions)} (or in capitals) and found {num_others} '
            'other files (names that begin with a dot are skipped). Set extensions to look for others; a list of paths '
            '(ann_file) takes files of any name.'
        )


def first(names: Sequence[str], limit: int = 5) -> str:
    """The first names, for messages."""
    return ', '.join(names[:limit]) + (', …' if len(names) > limit else '')


def _is_image(name: str, extensions: tuple[str, ...]) -> bool:
    return name.lower().endswith(extensions)


def _split_label(line: str, place: str) -> tuple[str, int]:
    name, _, label = line.replace('\t', ' ').rpartition(' ')
    if not name.strip() or not label.isdecimal():
        raise ValueError(
            f'{place}: with_labels=True expects "path label" with a label of 0, 1, 2, …, got {line!r}. '
            'Add the label, or set with_labels=False.'
        )
    return line[: len(line) - len(label)].rstrip(), int(label)
