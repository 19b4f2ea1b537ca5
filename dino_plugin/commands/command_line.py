"""Command-line arguments of the programs in tools/; quick to import, so that --help is quick."""

import argparse
import importlib
import os
import re
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

from dino_plugin.openmmlab.config_files import find_config

AUTO = 'auto'  # the config that a training chooses itself
CONFIG_HELP = 'a file, or a name below configs/ for one that ships with dino_plugin'
OPTIONS_HELP = """\
--cfg-options changes values of the config, as in all tools of OpenMMLab. A name joins the keys of nested dicts with
dots; a number is the index in a list. Lists are written [a,b] and tuples (a,b), in quotes for the shell:
  --cfg-options train_dataloader.dataset.dataset.data_root=my/images train_cfg.max_epochs=10
  --cfg-options "optim_wrapper.optimizer.betas=(0.9,0.95)" train_dataloader.dataset.dataset.pipeline.1.num_local=6"""

# Blanks that only separate: at both ends, after an opening bracket or comma, before a comma or closing bracket.
_SEPARATING = re.compile(r'^ +|(?<=[,(\[]) +| +(?=[,)\]])| +$')


def new_parser(description: str, auto: str = '') -> argparse.ArgumentParser:
    """A parser with the argument ``config`` and the option ``--cfg-options``, with examples in its help.

    Args:
        description: Of the program.
        auto: A word that names no file and is taken, too, for a config that the program writes itself.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=OPTIONS_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    also = f', or {auto!r}: a recipe that fits --images and this machine' if auto else ''
    parser.add_argument(
        'config', type=lambda name: name if name == auto else config_name(name), help=CONFIG_HELP + also
    )
    add_options(parser, '--cfg-options', 'change values of the config, see below')
    return parser


def add_options(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Adds an option for many NAME=VALUE pairs, which :func:`option_values` turns into a dict."""
    parser.add_argument(name, nargs='+', action='extend', type=_pair, default=[], metavar='NAME=VALUE', help=help)


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the other arguments that all training and test tools of OpenMMLab have."""
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: ./work_dirs/<name of the config>)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def option_values(pairs: list[tuple[str, str]] | dict[str, Any]) -> dict:
    """{name: value} of NAME=VALUE; values are read as by mmengine's ``DictAction``, but blanks inside text stay.

    mmengine removes every blank, so ``data_root='my images'`` would become ``myimages``. Here only blanks that separate
    the entries of a list are removed. A text with a comma is a list, unless a file or folder has this name.

    Args:
        pairs: Of a command line. A dict, of a Python program, stays as it is.

    Raises:
        SystemExit: If brackets are not balanced.
    """
    from mmengine.config import DictAction

    if isinstance(pairs, dict):
        return dict(pairs)
    values = {}
    for name, text in pairs:
        if ',' in text and os.path.exists(os.path.expanduser(text)):
            values[name] = text
            continue
        kept = _SEPARATING.sub('', text).replace(' ', '\0')  # a command line cannot hold \0
        try:
            value = DictAction._parse_iterable(kept)
        except AssertionError as error:
            fail(f'{name}={text}: {str(error).replace(chr(0), " ")}')
        except RecursionError:  # mmengine's answer to a comma inside brackets inside a text: 'my photos (2024, 2025)'
            value = kept
        values[name] = text.strip('\'"') if isinstance(value, str) else _with_blanks(value)
    return values


def fail(message: str) -> NoReturn:
    """End the program with a message and exit status 2, as for a wrong command line."""
    print(f'{Path(sys.argv[0]).name}: {message}', file=sys.stderr)
    sys.exit(2)


def program() -> list[str]:
    """The words that started this program: ``dino-plugin train``, or ``python`` and its file."""
    name = sys.argv[0]
    return name.split() if name.startswith('dino-plugin ') else ['python', name]


def tell(message: str) -> None:
    """Say what the user should know before the log begins; one process speaks for all."""
    if os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0':
        print(f'{Path(sys.argv[0]).name}: {message}', file=sys.stderr)


def existing(path: str) -> str:
    """Type of an argument that is a file, a folder, or an address, which is not checked.

    Raises:
        ArgumentTypeError: If it does not exist.
    """
    if '://' not in path and not path.startswith('hf-hub:') and not Path(path).expanduser().exists():
        raise argparse.ArgumentTypeError(f'{path} does not exist (working directory: {Path.cwd()})')
    return os.path.expanduser(path)


def config_name(name: str) -> str:
    """Type of an argument that is a config.

    Raises:
        ArgumentTypeError: If there is none of this name.
    """
    try:
        find_config(name)
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition('=')
    if not (name and equals):
        raise argparse.ArgumentTypeError(f'{word!r} is not of the form NAME=VALUE, such as train_cfg.max_epochs=10')
    return name, value


def _with_blanks(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_blanks, value))
    return value.replace('\0', ' ') if isinstance(value, str) else value


def import_yapf() -> None:
    """Imports yapf safely while other processes of the same run import it too; call it before importing mmengine.

    At its first import on a machine, yapf writes a cache of its grammar. A process that starts at the same moment may
    read a half-written file.
    """
    for attempt in range(50):
        try:
            importlib.import_module('yapf')
            return
        except (EOFError, UnpicklingError):
            if attempt == 49:
                raise
            time.sleep(0.1)
