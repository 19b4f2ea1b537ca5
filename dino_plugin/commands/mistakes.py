"""Errors of the user in one message, with the option that solves them, instead of a traceback."""

import copy
import inspect
import linecache
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from dino_plugin.commands.command_line import fail

# Options of any class that are files or folders, and example values.
EXAMPLES = dict(
    data_root='path/to/images', input_dir='path/to/images', ann_file='path/to/list.txt',
    img_path='images', seg_map_path='masks', checkpoint='path/to/checkpoint.pth', load_from='path/to/checkpoint.pth',
)  # fmt: skip
MODES = ('train', 'val', 'test')


@contextmanager
def explained(config: Config, *modes: str, short: Callable[[str], str | None] | None = None) -> Iterator[None]:
    """Ends the program with the error message only, if this package raised the error, or a path does not exist.

    A class does not know its place in the config. So this function searches the config for the refused value, or else
    for the refused argument, and adds its full name to the message, as for ``--cfg-options``. It does the same for
    paths that other packages do not find. The traceback goes to the log file.

    Args:
        config: The config as read, before the program changes it.
        *modes: What runs: 'train', 'val', 'test'; options for other modes are not named.
        short: Gives the program's short option for a full name, None if there is none.

    Raises:
        SystemExit: With status 2, instead of the error.
    """
    config = copy.deepcopy(config)
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        frames = list(_frames(error.__traceback__))
        ours, message = _is_message(frames[-1]), str(error)
        classes = [type(frame.tb_frame.f_locals.get('self')) for frame in frames] if ours else []
        names = [] if '--cfg-options' in message else refused_options(_sections(config, modes), message, classes)
        if not ours and not (names and isinstance(error, FileNotFoundError)):
            raise
        lines = [message, *_cures(names, short)]
        log_file = _log_to_file(traceback.format_exc())
        fail('\n'.join([*lines, *([f'The traceback is in {log_file}'] if log_file else [])]))


def _cures(names: list[str], short: Callable[[str], str | None] | None) -> list[str]:
    """Lines with the options that solve a mistake; short ones first."""
    shorter = {name: option for name in names if short is not None and (option := short(name))}
    lines = dict.fromkeys(f'    {option}' for option in shorter.values())
    full = [name for name in names if name not in shorter]
    lines |= dict.fromkeys(f'    --cfg-options {name}={EXAMPLES.get(name.rpartition(".")[2], "...")}' for name in full)
    heading = 'In a config, or on the command line:' if full else 'On the command line:'
    return [heading, *lines] if names else []


def refused_options(sections: dict, message: str, classes: list[type]) -> list[str]:
    """The full names of the options that caused an error.

    Args:
        sections: The sections of the config.
        message: The error message.
        classes: Classes whose code raised it; if there are none, options that are files and folders are searched.
    """
    ours = {cls.__name__: cls for cls in classes if cls.__module__.startswith('dino_plugin.')}
    found, unset = [], []
    for path, settings in _settings(sections):
        cls = ours.get(str(settings.get('type')).rpartition('.')[2])
        for name, value in settings.items():
            named = cls is not None or any(_has(message, word) for word in (name, *path[-1:]))
            named = named if classes else name in EXAMPLES
            entries = value if isinstance(value, list) else [value]
            forms = {form.rstrip('/') for entry in entries for form in (str(entry), os.path.expanduser(str(entry)))}
            if name != 'type' and named and any(_has(message, form) for form in forms):
                found.append('.'.join([*path, name]))
        if cls is not None:
            arguments = [name for name in inspect.signature(cls).parameters if _has(message, name)]
            unset += ['.'.join([*path, name]) for name in arguments if not settings.get(name)]
    return found or unset


def _settings(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    """Each dict in a config with its path, without nested dicts and values that are not set."""
    if isinstance(config, dict):
        inner = {key: value for key, value in config.items() if isinstance(value, dict) or _holds_dicts(value)}
        yield path, {key: value for key, value in config.items() if key not in inner and value not in (None, '')}
    else:
        inner = {str(index): value for index, value in enumerate(config)} if _holds_dicts(config) else {}
    for key, value in inner.items():
        yield from _settings(value, (*path, key))


def _holds_dicts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(entry, dict) or _holds_dicts(entry) for entry in value)


def _has(message: str, word: str) -> bool:
    """Whether a message contains this name, number or beginning of a path as a whole word."""
    return bool(word) and re.search(rf'(?<![\w.-]){re.escape(word)}(?![\w-]|\.\d)', message) is not None


def _sections(config: Config, modes: tuple[str, ...]) -> dict:
    """The sections that mmengine's runner reads; other entries of a config are variables without effect."""
    others = tuple(f'{mode}_' for mode in MODES if mode not in modes)
    read = [name for name in inspect.signature(Runner).parameters if name != 'cfg' and not name.startswith(others)]
    return {name: config[name] for name in read if name in config}


def _frames(current: TracebackType | None) -> Iterator[TracebackType]:
    while current is not None:
        yield current
        current = current.tb_next


def _is_message(innermost: TracebackType) -> bool:
    """Whether a ``raise`` statement of this package raised the error."""
    code = innermost.tb_frame.f_code
    ours = innermost.tb_frame.f_globals.get('__name__', '').startswith('dino_plugin.')
    return ours and linecache.getline(code.co_filename, innermost.tb_lineno).lstrip().startswith('raise ')


def _log_to_file(text: str) -> str | None:
    """Logs the text; returns the name of the log file, if there is one."""
    logger = MMLogger.get_current_instance()
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, text, (), None))
            return handler.baseFilename
    return None
