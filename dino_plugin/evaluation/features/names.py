"""The text file beside a file of features: the image of each row."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dino_plugin.data.sources.tar_members import BYTES  # Linux allows names of files that are not UTF-8


def write_names(path: Path, names: Sequence[str]) -> None:
    """One name in each line."""
    path.write_bytes(''.join(f'{name}\n' for name in names).encode(errors=BYTES))


def read_names(path: Path, rows: int) -> list[str]:
    """The names of that many rows.

    Names may hold what Python takes for the end of a line elsewhere, such as U+2028.

    Raises:
        ValueError: If there is another number of names.
    """
    names = path.read_bytes().decode(errors=BYTES).split('\n')[:-1]
    if len(names) != rows:
        raise ValueError(
            f'{path} has {len(names)} lines for {rows} rows of features: it was changed, or a name of a file has a '
            'line break. Rename that file, and compute the features again.'
        )
    return names


def refuse_other_than_utf8(names: Iterable[str], where: str) -> None:
    """Raise a ValueError if a name of a file or folder cannot be written into a table or recipe."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f'{where} hold UTF-8 alone, and this name is not: {name!r}. Rename it, or name a link to it: ln -s.'
            ) from error
