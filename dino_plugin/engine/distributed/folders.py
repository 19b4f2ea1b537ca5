"""Folders that get their name when they are whole, and what is done after that."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path


def put_in_place(partial: Path, folder: Path) -> None:
    """Give a whole folder its name; a folder or file of that name goes away after that."""
    old = folder.with_name(f'{folder.name}.old')
    remove(old)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def then(first: Future, action: Callable[[], None]) -> Future:
    """Done when an action is that follows the first; an error of either is its error.

    Those who wait for a future may go on before its callbacks have run, whose errors nobody sees.
    """
    both: Future = Future()

    def follow(done: Future) -> None:
        try:
            done.result()
            action()
        except Exception as error:
            both.set_exception(error)
        else:
            both.set_result(None)

    first.add_done_callback(follow)
    return both
