"""What the commands of tools/ read from their command lines; light to import, so that --help comes at once."""

import argparse
import importlib
import re
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import NoReturn

from dino_plugin.openmmlab.config_files import find_config

CONFIG_HELP = 'a file, or a name below configs/ for one that ships with dino_plugin'
OPTIONS_HELP = """\
--cfg-options changes what the config says, as in all tools of OpenMMLab. The name is the way through the nested dicts,
with dots; lists are written [a,b] and tuples (a,b), quoted for the shell, and a number counts the entries of a list:
  --cfg-options train_dataloader.dataset.dataset.data_root=my/images train_cfg.max_epochs=10
  --cfg-options "optim_wrapper.optimizer.betas=(0.9,0.95)" train_dataloader.dataset.dataset.pipeline.1.num_local=6"""

# Blanks that only separate: at either end, after a bracket opens or a comma, before a comma or a bracket closes.
_SEPARATING = re.compile(r'^ +|(?<=[,(\[]) +| +(?=[,)\]])| +$')


def new_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the argument ``config`` and the option ``--cfg-options``, explained with an example."""
    parser = argparse.ArgumentParser(
        description=description, epilog=OPTIONS_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=_config, help=CONFIG_HELP)
    add_options(parser, '--cfg-options', 'change values of the config, see below')
    return parser


def add_options(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """An option that takes NAME=VALUE, many times; :func:`option_values` makes a dict of what it collects."""
    parser.add_argument(name, nargs='+', action='extend', type=_pair, default=[], metavar='NAME=VALUE', help=help)


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """The other arguments that OpenMMLab's tools have everywhere."""
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: ./work_dirs/<name of the config>)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def option_values(pairs: list[tuple[str, str]]) -> dict:
    """{name: value} of NAME=VALUE; a value means what it means to mmengine's own ``DictAction``, but blanks stay.

    mmengine removes every blank, so ``data_root='my images'`` would become ``myimages``. Here a blank belongs to the
    text that it stands in; those that only separate the entries of a list go, as there.

    Raises:
        SystemExit: If brackets are not balanced.
    """
    from mmengine.config import DictAction

    values = {}
    for name, text in pairs:
        kept = _SEPARATING.sub('', text).replace(' ', '\0')  # no command line can hold a \0
        try:
            value = DictAction._parse_iterable(kept)
        except AssertionError as error:
            fail(f'{name}={text}: {str(error).replace(chr(0), " ")}')
        except RecursionError:  # mmengine's answer to a comma inside brackets inside a text: 'my photos (2024, 2025)'
            value = kept
        values[name] = text.strip('\'"') if isinstance(value, str) else _with_blanks(value)
    return values


def fail(message: str) -> NoReturn:
    """End with one message and the exit status of a wrong command line, 2."""
    print(f'{Path(sys.argv[0]).name}: {message}', file=sys.stderr)
    sys.exit(2)


def existing(path: str) -> str:
    """The type of an argument that names a file or folder, or an address in the network, which is not looked up.

    Raises:
        ArgumentTypeError: If it does not exist.
    """
    if '://' not in path and not Path(path).expanduser().exists():
        raise argparse.ArgumentTypeError(f'{path} does not exist (working directory: {Path.cwd()})')
    return path


def _config(name: str) -> str:
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


def import_yapf(attempts: int = 50) -> None:
    """Imports yapf, which mmengine writes configs with, while other processes of the same run do so too.

    Before mmengine, some versions of which import it.

    At its first import on a machine yapf caches its grammar, and puts the file in place before all of it is written, so
    a process that starts at the same moment may read half of it.
    """
    for attempt in range(attempts):
        try:
            importlib.import_module('yapf')
            return
        except (EOFError, UnpicklingError):
            if attempt == attempts - 1:
                raise
            time.sleep(0.1)
