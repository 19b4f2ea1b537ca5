"""The runs below some folders, as a server knows them, and the files that it may send."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlencode

from dino_plugin.report.content import Sources, content, shown_files, summary
from dino_plugin.report.files import modified
from dino_plugin.report.folders import find_runs
from dino_plugin.report.runs import Run

BYTES = 'surrogateescape'  # names of files need not be UTF-8
SECONDS = 5  # between two questions of a page for what is new


class Linked(Sources):
    """Addresses of pictures at this server. They change with the file, so that a browser may keep what it has."""

    def picture(self, run: Run, path: Path) -> str:
        """The address of a picture."""
        return _address('picture', run, path)

    def film(self, run: Run, path: Path) -> tuple[str, str]:
        """The addresses of a film and of its first frame."""
        return _address('film', run, path), _address('still', run, path)


class Runs:
    """The runs below some folders; several requests may ask at once.

    Args:
        folders: Working directories, or folders that hold some; new ones are found as they come.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.folders = [Path(folder) for folder in folders]
        self._known: dict[Path, Run] = {}
        self._lock = Lock()

    def content(self, names: Sequence[str]) -> dict[str, Any]:
        """What the page of these runs shows; without names the page of the only one, or a table of all.

        Raises:
            KeyError: If a run is unknown.
        """
        with self._lock:
            runs = self._find()
            chosen = [runs[name] for name in names] or list(runs.values())
            for run in chosen:
                run.update()
            if names or len(chosen) < 2:
                shown = content(chosen, Linked())
            else:
                shown = content([], Linked()) | dict(
                    title=self._title, runs=[summary(run) for run in chosen], index=True
                )
        given = [str(folder) for folder in self.folders]
        return shown | dict(given=given, seconds=SECONDS, others=bool(names) and len(runs) > 1)

    @property
    def _title(self) -> str:
        return 'Runs of ' + ', '.join(folder.resolve().name for folder in self.folders)

    def file(self, name: str, place: str) -> Path:
        """A file that the page of a run shows.

        Raises:
            KeyError: If the page shows no such file.
        """
        with self._lock:
            run = self._find()[name]
        return {path.relative_to(run.folder).as_posix(): path for path in shown_files(run)}[place]

    def _find(self) -> dict[str, Run]:
        found = find_runs(self.folders)
        self._known = {path: self._known.get(path) or Run(name, path) for name, path in found.items()}
        for name, path in found.items():
            self._known[path].name = name
        return {run.name: run for run in self._known.values()}


def _address(kind: str, run: Run, path: Path) -> str:
    asked = dict(run=run.name, place=path.relative_to(run.folder).as_posix(), written=modified([path]))
    return f'{kind}?{urlencode(asked, errors=BYTES)}'
