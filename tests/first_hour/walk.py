"""Walks the road of a new user: an installed package, an empty folder, and the lines of docs/first_hour.md.

    python tests/first_hour/walk.py                 # a wheel of this checkout, with the packages of this interpreter
    python tests/first_hour/walk.py --installed     # dino_plugin as this interpreter has it installed

Every block of that page runs as it is written: one in Python that begins with ``# name.py`` is that file, one in sh is
typed. Beside them the roads of the other files in this folder: OpenMMLab's own programs, configs in pure
Python, a copy of a shipped recipe. Images are the bundled ones; the working folder has a blank in its name.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DATA = REPOSITORY / 'tests/data'
PAGE = REPOSITORY / 'docs/first_hour.md'

# What the page has no room for, and needs nothing of what its lines leave.
ROADS = [
    'python -m dino_plugin train lazy.py',
    'python "$MMSEG/.mim/tools/train.py" habit.py',
    'python "$MMPRETRAIN/.mim/tools/train.py" habit.py',
    'python "$MMPRETRAIN/.mim/tools/train.py" inherits.py',
    'cp "$DINO_PLUGIN/.mim/configs/dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py" copied.py',
    'python -m dino_plugin train copied.py --images photos --batch-size 12 --epochs 1 '
    '--backbone vit_tiny_patch16_224 --cfg-options model.backbone.depth=1 model.heads.cls.prototypes=64',
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--installed', action='store_true', help='use dino_plugin as it is installed')
    parser.add_argument('--keep', action='store_true', help='leave the working folder')
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix='first hour '))
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    environment |= {'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}', 'PYTHON': sys.executable}
    environment |= {'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', 'PYTHONWARNINGS': 'ignore'}
    try:
        if not args.installed:
            site = install_wheel(folder / 'site packages')
            environment['PYTHONPATH'] = str(site)
            environment['PATH'] = f'{site / "bin"}{os.pathsep}{environment["PATH"]}'  # its dino-plugin
        work = folder / 'empty folder'
        work.mkdir()
        lay_out_images(work)
        environment |= {name.upper(): place(name, work, environment) for name in ('dino_plugin', 'mmseg', 'mmpretrain')}
        if not args.installed and not environment['DINO_PLUGIN'].startswith(str(folder)):
            sys.exit(f'The wheel is not what is imported: {environment["DINO_PLUGIN"]}')
        walk(work, environment)
    finally:
        if args.keep:
            print(f'Left: {folder}')
        else:
            shutil.rmtree(folder)


def install_wheel(target: Path) -> Path:
    """A wheel of this checkout, unpacked into a folder of its own."""
    with tempfile.TemporaryDirectory() as built:
        source = Path(built) / 'dino_plugin'
        subprocess.run(['git', 'clone', '--quiet', str(REPOSITORY), str(source)], check=True)
        wheel = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', built]
        subprocess.run([*wheel, str(source)], check=True)
        (path,) = Path(built).glob('*.whl')
        install = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', str(target), str(path)]
        subprocess.run(install, check=True)
    return target


def lay_out_images(work: Path) -> None:
    """``photos``, ``classes/{train,val}/<class>`` and ``street/{train,val,train_masks,val_masks}``."""
    frames = sorted((DATA / 'davis/JPEGImages/480p').rglob('*.jpg'))
    (work / 'photos').mkdir()
    for number, frame in enumerate(frames):
        shutil.copy(frame, work / f'photos/{frame.parent.name} {frame.name}')
        part = 'val' if number % 10 == 0 else 'train'  # three: a CPU takes seconds for each
        mask = DATA / 'davis/Annotations/480p' / frame.parent.name / f'{frame.stem}.png'
        for source, kind in ((frame, part), (mask, f'{part}_masks')):
            (work / 'frames' / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, work / 'frames' / kind / f'{frame.parent.name}-{source.name}')
    for part, source in (('train', 'train'), ('val', 'test')):
        for folder in sorted((DATA / 'cifar10_mini' / source).iterdir()):
            target = work / 'classes' / part / folder.name
            target.mkdir(parents=True)
            for image in sorted(folder.iterdir())[:6]:
                shutil.copy(image, target)


def place(package: str, work: Path, environment: dict[str, str]) -> str:
    """The folder of an installed package."""
    script = f'import importlib.util; print(importlib.util.find_spec("{package}").submodule_search_locations[0])'
    command = [sys.executable, '-c', script]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=work, env=environment).stdout.strip()


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each block."""
    return re.findall(r'^```(\w+)\n(.*?)^```', text, flags=re.MULTILINE | re.DOTALL)


def walk(work: Path, environment: dict[str, str]) -> None:
    steps = []
    for language, content in blocks(PAGE.read_text()):
        if language == 'python':
            name = re.match(r'# (\w+\.py)', content)[1]
            (work / name).write_text(content)
        elif language == 'sh':
            steps += [line for line in content.replace('\\\n', ' ').splitlines() if line.strip()]
    for path in set(HERE.glob('*.py')) - {Path(__file__)}:
        shutil.copy(path, work)
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(take, steps, work, environment), pool.submit(take, ROADS, work, environment)]
    failed = sum(future.result() for future in taken)
    print(f'{len(steps + ROADS) - failed} passed, {failed} failed', flush=True)
    if failed:
        sys.exit(1)


def take(steps: list[str], work: Path, environment: dict[str, str]) -> int:
    """How many of these steps, one after the other, failed."""
    failed = 0
    for step in steps:
        started = time.monotonic()
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', step],
            cwd=work, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        shown = re.sub(r'\s+', ' ', step)
        told = f'{"FAILED" if done.returncode else "ok    "} {time.monotonic() - started:5.0f} s  {shown}'
        print(f'{told}\n{done.stdout[-4000:]}' if done.returncode else told, flush=True)
        failed += done.returncode != 0
    return failed


if __name__ == '__main__':
    main()
