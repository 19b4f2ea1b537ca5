"""Runs a program of the installed package: dino-plugin PROGRAM [arguments]; --help lists them, --version tells ours.

PROGRAM is a word of the list below, the name of a file in tools/, or the path of any Python program. For example,
mmsegmentation's own tools/train.py then understands configs that inherit from ``dino_plugin::...``.
``python -m dino_plugin`` is the same. On eight GPUs:
``torchrun --nproc_per_node=8 -m dino_plugin train CONFIG --launcher pytorch``.
"""

import ast
import sys
from pathlib import Path
from types import ModuleType

from dino_plugin import __version__
from dino_plugin.openmmlab.config_files import config_root

# Words that are shorter than the name of the file.
SHORT = dict(
    attention='visualize_attention',
    colours='visualize_features',
    compare='compare_recipes',
    convert='convert_checkpoint',
    export='export_backbone',
    features='extract_features',
    heads='compare_heads',
    index='index_shards',
    normalisation='measure_normalisation',
    shards='make_shards',
    views='browse_views',
)


def main() -> None:
    """Run the program that the command line names, as if it was started directly."""
    folder = config_root().parent / 'tools'
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name in ('-h', '--help'):
        print(f'{__doc__}\n{_list_of_programs(folder)}')
        return
    if name == '--version':
        print(f'dino_plugin {__version__}')
        return
    ours = folder / f'{SHORT.get(name, name)}.py'
    program = ours if name and ours.is_file() else Path(name)
    if not program.is_file():
        print(f'dino-plugin PROGRAM [arguments]: no program {name!r}. {_list_of_programs(folder)}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'dino-plugin {name}' if program == ours else str(program), *sys.argv[2:]]
    sys.path[0] = str(program.parent)
    _run(program)


def _run(program: Path) -> None:
    """As `runpy.run_path`, which would put the path in place of the name in messages and in help."""
    module = ModuleType('__main__')
    module.__file__ = str(program)
    sys.modules['__main__'] = module
    exec(compile(program.read_bytes(), str(program), 'exec'), module.__dict__)


def _list_of_programs(folder: Path) -> str:
    """One line each: the word, and what the file says of itself."""
    short = {file: word for word, file in SHORT.items()}
    lines = ['Programs:']
    for path in sorted(folder.glob('*.py'), key=lambda path: short.get(path.stem, path.stem)):
        purpose = (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').splitlines()[0]
        word = short.get(path.stem, path.stem)
        named = f' ({path.stem})' if word != path.stem else ''
        lines.append(f'  {word:<14} {purpose.split(": python ")[0].rstrip(".:")}{named}')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
