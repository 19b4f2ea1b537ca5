"""The config named `auto`: looks at images and machine, chooses, says why, and writes a config to edit."""

import argparse
import os
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dino_plugin.commands.auto_machine import choices_of_machine
from dino_plugin.commands.auto_recipe import NOT_MEASURED, Choice, choices_of_method
from dino_plugin.commands.auto_rules import recipe_for
from dino_plugin.commands.command_line import AUTO, fail, tell
from dino_plugin.commands.machine import Facts, look
from dino_plugin.engine.training.whole_files import write_whole
from dino_plugin.evaluation.features.names import refuse_other_than_utf8

WORK_DIR = f'./work_dirs/{AUTO}'


def write_recipe(args: argparse.Namespace) -> str:
    """Chooses a recipe for the images and writes it; the table of choices is printed.

    Args:
        args: Of tools/train.py: ``images``, ``work_dir``, ``launcher`` and ``resume`` are read.

    Returns:
        The file, ``WORK_DIR/recipe.py``. A training that is resumed takes the one that is there, edited or not.

    Raises:
        SystemExit: If there are no images or too few, another recipe is in the folder, or the name
            of a folder is not UTF-8.
    """
    folder = Path(os.path.expanduser(args.work_dir or WORK_DIR))
    file = folder / 'recipe.py'
    if args.resume and file.is_file():
        tell(f'goes on with {file} as it is')
        return str(file)
    if not args.images:
        fail(f'{AUTO} chooses a recipe for your images: {AUTO} --images DIR')
    folders = [os.path.abspath(os.path.expanduser(folder)) for folder in args.images]
    try:
        refuse_other_than_utf8([str(folder), *folders], 'Recipes')
        facts = look(folders, args.launcher)
        recipe = recipe_for(facts)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        fail(str(error))
    choices = [*choices_of_method(facts, recipe), *choices_of_machine(facts, recipe, folders)]
    text = config_text(choices, str(folder), args.images)
    if not _speaks():  # the same text; two processes must not write one file
        file = Path(tempfile.mkdtemp()) / 'recipe.py'
    elif file.is_file() and file.read_text() != text:
        fail(f'{file} holds another recipe. To run it: train {file}. To replace it, remove it, or take --work-dir DIR.')
    write_whole(file, text.encode())
    if _speaks():
        show(choices, _told(facts), file)
        here = torch.cuda.device_count()
        if 0 < facts.gpus < here:
            all_gpus = f'bash tools/dist_train.sh {AUTO} {here} --images DIR'
            tell(f'warning: {facts.gpus} of {here} GPUs train. For all: {all_gpus}')
    return str(file)


def config_text(choices: Sequence[Choice], work_dir: str, images: Sequence[str]) -> str:
    """An ordinary config with the choices as lines and the reasons as comments."""
    head = f'Written by the config `{AUTO}` for --images {" ".join(images)}. Edit it, and train it like any config.'
    parts = [_comment(head)]
    for choice in choices:
        parts += [_comment(f'{choice.name}: {choice.value}. {choice.reason}.'), *choice.lines]
        parts += [''] if choice.lines else []
    return '\n'.join([*parts, f'work_dir = {work_dir!r}', ''])


def _comment(text: str) -> str:
    return textwrap.fill(text, 120, initial_indent='# ', subsequent_indent='#     ', break_on_hyphens=False)


def _told(facts: Facts) -> str:
    classes = f' in {facts.classes:,} folders' if facts.classes else ''
    gpus = f'{facts.gpus} GPU{"s" if facts.gpus > 1 else ""} of {facts.gpu_memory:.0f} GB'
    machine = f'{gpus if facts.gpus else "a CPU"} with {facts.cores} cores'
    return f'A recipe for {facts.images:,} images{classes}, about {facts.side} px, on {machine}'


def show(choices: Sequence[Choice], title: str, file: Path) -> None:
    """Prints the table, what of it was never measured, and the file."""
    console = Console()
    table = Table('choice', 'value', 'reason', title=title)
    for choice in choices:
        table.add_row(choice.name, choice.value, choice.reason)
    console.width = console.width if console.is_terminal else 120
    console.print(table, markup=False)
    unknown = [choice.name for choice in choices if NOT_MEASURED in choice.reason]
    if unknown:
        tell(f'warning: outside of what was measured: {", ".join(unknown)}')
    tell(f'the recipe is in {file}: edit it, and run it again by: train {file}')


def _speaks() -> bool:
    """Whether this is the one process that prints and writes."""
    return os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0'
