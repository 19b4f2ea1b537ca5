"""Runs a command of the installed package: python -m dino_plugin train CONFIG [options]

The first word is the name of a file in tools/ without its suffix, or the path of any Python program. For example,
mmsegmentation's own tools/train.py then understands configs that inherit from ``dino_plugin::...``.
On eight GPUs: ``torchrun --nproc_per_node=8 -m dino_plugin train CONFIG --launcher pytorch``.
"""

import runpy
import sys
from pathlib import Path

from dino_plugin.openmmlab.config_files import config_root


def main() -> None:
    """Run the program that the command line names, as if it was started directly."""
    folder = config_root().parent / 'tools'
    names = [path.stem for path in sorted(folder.glob('*.py'))]
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    program = folder / f'{name}.py' if name in names else Path(name)
    programs = f'Programs: {", ".join(names)}.'
    if name in ('-h', '--help'):
        print(f'{__doc__}\n{programs}')
        return
    if not program.is_file():
        print(f'python -m dino_plugin PROGRAM [arguments]: no program {name!r}. {programs}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [str(program), *sys.argv[2:]]
    sys.path[0] = str(program.parent)
    runpy.run_path(str(program), run_name='__main__')


if __name__ == '__main__':
    main()
