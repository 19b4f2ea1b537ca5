"""The lists of films that Something-Something v2 and Kinetics publish, as they are."""

import csv
import json
from pathlib import Path
from typing import Any

from dino_plugin.data.images.user_files import read_lines

KINETICS = ('label', 'youtube_id', 'time_start', 'time_end')
SOMETHING = '20bn-something-something-v2'  # the folder that its archives unpack

Line = tuple[str, list[str], str]  # place in the list, names that the film may have below its folder, class


def published_list(path: Path) -> list[Line] | None:
    """Films and classes of a published list; None of another one.

    - ``.json``, Something-Something v2: ``[{"id": "1", "template": "Moving [something] up"}]`` is the film ``1.webm``,
      or `SOMETHING`/``1.webm``, of the class ``Moving something up``.
    - ``.csv`` with the columns `KINETICS`: ``yoga,abc,7,17,train`` is ``abc_000007_000017.mp4``, or the same in a
      folder ``yoga``, of the class ``yoga``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an entry or a column is missing, as in both lists of test films, or a time is no number.
    """
    if path.suffix.lower() == '.json':
        return [_something(path, number, entry) for number, entry in enumerate(_read_json(path, list))]
    return _kinetics(path) if path.suffix.lower() == '.csv' else None


def published_classes(path: Path) -> list[str] | None:
    """Names of the classes: Something-Something's ``{"Moving something up": "0"}``, or sorted ones of Kinetics' list.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If numbers are not 0, 1, 2, … once each; or as in `published_list`.
    """
    if path.suffix.lower() == '.json':
        numbers = _read_json(path, dict)
        names = sorted(numbers, key=lambda name: str(numbers[name]).zfill(9))
        if [str(numbers[name]) for name in names] != [str(number) for number in range(len(names))]:
            raise ValueError(f'{path}: expected {{"class": "number"}} with 0 to {len(names) - 1}, each once.')
        return names
    lines = published_list(path)
    return None if lines is None else sorted({label for _, _, label in lines})


def _something(path: Path, number: int, entry: Any) -> Line:
    if not isinstance(entry, dict) or not {'id', 'template'} <= entry.keys():
        raise ValueError(
            f'{path}, entry {number}: expected "id" and "template", got {entry}. Lists of test films have no template: '
            'take train.json or validation.json.'
        )
    label = entry['template'].replace('[', '').replace(']', '')
    return f'{path}, entry {number}', [f'{entry["id"]}.webm', f'{SOMETHING}/{entry["id"]}.webm'], label


def _kinetics(path: Path) -> list[Line] | None:
    numbered = list(read_lines(path))
    rows = csv.DictReader(text for _, text in numbered)
    columns = rows.fieldnames or ()
    if 'youtube_id' not in columns:
        return None
    if missing := [name for name in KINETICS if name not in columns]:
        raise ValueError(f'{path} has no column {missing}: expected {KINETICS}. Lists of test films have no label.')
    lines = []
    for (number, _), row in zip(numbered[1:], rows):
        begin, end, label = row['time_start'] or '', row['time_end'] or '', row['label']
        if not (begin.isdecimal() and end.isdecimal()):
            raise ValueError(
                f'{path}, line {number}: time_start and time_end are whole seconds, got {begin!r}, {end!r}.'
            )
        film = f'{row["youtube_id"]}_{int(begin):06d}_{int(end):06d}.mp4'
        lines.append((f'{path}, line {number}', [film, f'{label}/{film}'], label))
    return lines


def _read_json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, kind):
        expected = '[{"id": …, "template": …}]' if kind is list else '{"class": "number"}'
        raise ValueError(f"{path}: expected Something-Something's {expected}. Of Kinetics take the list in CSV.")
    return content
