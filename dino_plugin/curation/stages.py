"""Stages of long work in folders: what is done is not done again, what was interrupted goes on."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log


class Stages:
    """Work in steps, each with a folder of its own below one folder, which all processes share.

    A stage is done again if its settings, or those of a stage before it, have changed. What it had written is removed
    then.

    Args:
        folder: Of all stages.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.results: dict[str, dict[str, Any]] = {}
        self._before: dict[str, Any] = {}

    def run(
        self, name: str, settings: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]], costly: bool = False
    ) -> dict[str, Any]:
        """The result of a stage, from this run or an earlier one, with its `seconds`. All processes call it.

        Args:
            name: Of the folder.
            settings: All that the stage depends on, besides the stages before it.
            work: Gets the folder, in which it finds what an interrupted run has left; gives what JSON can hold.
            costly: Refuse other settings instead of removing what was written.

        Raises:
            ValueError: If the settings of a costly stage have changed, or the folder has files that no stage wrote.
        """
        folder = self.folder / name
        self._before = {**self._before, name: dict(settings)}
        note, done = folder / 'settings.json', folder / 'done.json'
        text = json.dumps(self._before, indent=1, default=str)
        if folder.exists() and not note.is_file() and (folder.is_file() or any(folder.iterdir())):
            raise ValueError(
                f'{folder} is no stage of an earlier run (it has no {note.name}), and nothing of it is removed. Choose '
                'another folder, or move it away.'
            )
        others = folder.is_dir() and not (note.is_file() and note.read_text() == text)
        if others and costly and note.is_file():
            raise ValueError(
                f'{folder} holds the work of other settings, {note.read_text()}; now they are {text}. Choose another '
                'folder, or remove this one.'
            )
        barrier()  # all have looked
        if is_main_process():
            if others:
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            note.write_text(text)
        barrier()
        if done.is_file():
            print_log(f'{name}: done before', logger='current')
        else:
            self._do(name, work, folder, done)
        self.results[name] = json.loads(done.read_text())
        return self.results[name]

    def _do(self, name: str, work: Callable[[Path], Mapping[str, Any]], folder: Path, done: Path) -> None:
        start = time.monotonic()
        result = dict(work(folder), seconds=round(time.monotonic() - start, 1))
        barrier()
        if is_main_process():
            done.with_suffix('.unfinished').write_text(json.dumps(result))
            done.with_suffix('.unfinished').replace(done)
        barrier()
        words = ', '.join(f'{key} {value}' for key, value in result.items() if not isinstance(value, list | dict))
        print_log(f'{name}: {words}', logger='current')
