"""Which folders are working directories."""

from collections.abc import Sequence
from pathlib import Path

from dino_plugin.report import files

DATED = '[0-9]*_[0-9]*'  # mmengine's folder of one start of a run
_DEPTH = 3  # how far below a given folder working directories are looked for


def is_run(folder: Path) -> bool:
    """Whether mmengine wrote a log or scalars here."""
    return any(next(folder.glob(pattern), None) for pattern in ('vis_data', '*/vis_data', f'{DATED}/*.log'))


def find_runs(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Working directories by name: the folders themselves, or those below a folder that is none.

    Names are the shortest that tell them apart.
    """
    runs: dict[Path, Path] = {}  # by their true places, as folders may be given twice
    for folder in map(Path, folders):
        for run in _below(folder, folder, _DEPTH):
            runs.setdefault(run.resolve(), run)
    names: dict[str, Path] = {}
    for place, run in runs.items():
        length = 1
        while (name := _name(place, length)) in names:
            length += 1
        names[name] = run
    return names


def _name(place: Path, length: int) -> str:
    """The last parts of a path as text that every page and address can hold."""
    return '/'.join(place.parts[-length:]).encode(errors='replace').decode()


def _below(root: Path, folder: Path, depth: int) -> list[Path]:
    if is_run(folder):
        return [folder]
    folders = [path for path in sorted(folder.glob('*')) if path.is_dir() and files.inside(root, path)] if depth else []
    return [run for path in folders for run in _below(root, path, depth - 1)]
