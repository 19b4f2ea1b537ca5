"""Which films there are, and the label of each: class folders and lists."""

import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from dino_plugin.data.images.image_files import EXTENSIONS, first
from dino_plugin.data.images.user_files import is_file, is_folder, list_folder, read_lines
from dino_plugin.evaluation.clips.films import VIDEOS
from dino_plugin.evaluation.clips.published_lists import published_classes, published_list

Films = list[tuple[Path, int]]


def read_classes(path: Path) -> list[str]:
    """The text of each line, without a number before it: "1 ApplyEyeMakeup"; or those of `published_classes`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name stands there twice, or as in `published_classes`.
    """
    if (names := published_classes(path)) is not None:
        return names
    names = [re.sub(r'^\d+[\s,]+(?=\S)', '', line) for _, line in read_lines(path)]
    if len(set(names)) < len(names):
        raise ValueError(f'{path} names {len(names)} classes, {len(set(names))} of them different: give each once.')
    return names


def films_in_folders(root: Path, classes: Sequence[str] | None) -> tuple[Films, list[str], str]:
    """Films below class folders, the names of the classes, and words about images beside films, parts of none.

    Raises:
        ValueError: If a class has no folder, or a folder no film or no class.
    """
    folders = [entry.name for entry in list_folder(root) if is_folder(entry)]
    names = list(folders if classes is None else classes)
    if unknown := [folder for folder in folders if folder not in names]:
        raise ValueError(f'{len(unknown)} folders of {root} are none of the {len(names)} classes: {first(unknown)}.')
    if not names:
        raise ValueError(f'{root} has no class folder: expected <class>/<film>.mp4 or <class>/<film>/<frames>.jpg.')
    found = [_films_of_class(root / name) if name in folders else ([], []) for name in names]
    if empty := [name for name, (films, _) in zip(names, found) if not films]:
        raise ValueError(
            f'{len(empty)} of {len(names)} classes have no film in {root}: {first(empty)}. Expected <class>/<film>.mp4 '
            f'({" ".join(VIDEOS)}) or <class>/<film>/<frames>.jpg; remove classes that are not used.'
        )
    films = [(path, label) for label, (own, _) in enumerate(found) for path in own]
    beside = [path for _, images in found for path in images]
    return films, names, f'; left out: {len(beside)} images beside films, first {beside[0]}' if beside else ''


def _films_of_class(folder: Path) -> tuple[list[Path], list[Path]]:
    """Films, and images beside them: a poster, say. Images alone are the frames of one film."""
    entries = list_folder(folder)
    films = [entry for entry in entries if is_folder(entry) or (is_file(entry) and entry.name.lower().endswith(VIDEOS))]
    images = [entry for entry in entries if is_file(entry) and entry.name.lower().endswith(EXTENSIONS)]
    if images and not films:
        return [folder], []
    return [folder / entry.name for entry in films], [folder / entry.name for entry in images]


def films_in_list(
    path: str, root: Path, classes: Sequence[str] | None, first_label: int, unreadable: str
) -> tuple[Films, list[str], str]:
    """The films of a list, the names of the classes, and words about films that are left out.

    Raises:
        FileNotFoundError: If the list is missing, or films are, and `unreadable` is not 'skip'; or all are.
        ValueError: If it names no film, or a line has no label, or one without a class; or as in `published_list`.
    """
    lines = published_list(Path(path))
    if lines is not None and classes is None:
        classes = sorted({word for _, _, word in lines})
    if lines is None:
        lines = [(f'{path}, line {number}', *_split(line)) for number, line in read_lines(path)]
    if not lines:
        raise ValueError(f'{path} names no film: expected "film label" in each line, or a published list.')
    known = None if classes is None else {name: number for number, name in enumerate(classes)}
    labels = [_label(place, names[0], word, known, first_label) for place, names, word in lines]
    paths = [[root / name for name in names] for _, names, _ in lines]
    found = [next((path for path in own if path.exists()), None) for own in paths]
    missing = [own for own, film in zip(paths, found) if film is None]
    if missing and (unreadable != 'skip' or len(missing) == len(found)):
        raise FileNotFoundError(
            f'{len(missing)} of {len(found)} films of {path} do not exist: {first([str(own[0]) for own in missing])}; '
            f'the first would be {" or ".join(map(str, missing[0]))}. Paths are taken from data_root ({root}); films '
            "that you do not have are left out by unreadable='skip'."
        )
    films = [(film, label) for film, label in zip(found, labels) if film is not None]
    names = list(classes) if classes is not None else [str(label + first_label) for label in range(max(labels) + 1)]
    labelled = {label for _, label in films}
    if empty := [name for label, name in enumerate(names) if label not in labelled]:
        print_log(f'{path}: {len(empty)} of {len(names)} classes have no film ({first(empty)})', 'current')
    return films, names, f'; left out: {len(missing)} films that do not exist, first {missing[0][0]}' if missing else ''


def _split(line: str) -> tuple[list[str], str | None]:
    """Film and label of a line; a name of a class may have blanks after a comma, a film before it."""
    if ',' in line:
        film, word = line.rsplit(',', 1)
        return [film.strip()], word.strip()
    film, *words = line.rsplit(maxsplit=1)
    return [film], words[0] if words else None


def _label(place: str, film: str, word: str | None, known: dict[str, int] | None, first_label: int) -> int:
    if word is None and known is not None:
        word = Path(film).parts[0]
    if word is None:
        raise ValueError(f'{place}: {film} has no label. Write "film label", or give classes and put films in folders.')
    if known and word in known:
        return known[word]
    label = int(word) - first_label if word.isdecimal() else None
    if label is None or label < 0 or (known is not None and label >= len(known)):
        cure = (
            'Give classes=FILE.'
            if known is None
            else f'There are {len(known)}, from {first_label} on: {first(list(known))}.'
        )
        raise ValueError(f'{place}: label {word!r} of {film} is no class. {cure} first_label is {first_label}.')
    return label
