"""Run the tutorials as notebooks: python docs/run_tutorials.py [NAME ...] [--keep-pictures]

They run one after the other in one folder, work_dirs/tutorials, where `tests` and `tools` are those of the checkout:
most use the checkpoint of the first one. Each leaves NAME.ipynb there with its output. A cell that fails ends the run.
--keep-pictures also renews docs/images/tutorials, which the pages show: so the site is built without a training.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient
from PIL import Image

DOCS = Path(__file__).resolve().parent
PAGES = sorted((DOCS / 'tutorials').glob('[0-9]_*.md'))
FOLDER = DOCS.parent / 'work_dirs/tutorials'
PICTURES = DOCS / 'images/tutorials'
WIDEST, LARGEST = 900, 100_000  # pixels, bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'of {", ".join(page.stem for page in PAGES)}')
    parser.add_argument('--keep-pictures', action='store_true', help='renew docs/images/tutorials')
    args = parser.parse_args()
    if unknown := set(args.names) - {page.stem for page in PAGES}:
        parser.error(f'no tutorial {", ".join(sorted(unknown))}')
    if not args.names:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ('tests', 'tools'):
        if not (FOLDER / name).exists():
            (FOLDER / name).symlink_to(DOCS.parent / name)
    os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    for page in PAGES:
        if not args.names or page.stem in args.names:
            run(page, args.keep_pictures)


def run(page: Path, keep_pictures: bool) -> None:
    """Execute one page, and write it with its output."""
    began = time.perf_counter()
    notebook = read_myst_markdown_notebook(page.read_text(encoding='utf8'))
    where = {'metadata': {'path': str(FOLDER)}}
    client = NotebookClient(notebook, timeout=1200, kernel_name='python3', resources=where, coalesce_streams=True)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, FOLDER / f'{page.stem}.ipynb')
    print(f'{page.stem}: {time.perf_counter() - began:.0f} s', flush=True)
    for name, pattern in notebook.metadata.get('pictures', {}).items():
        found = sorted(FOLDER.glob(pattern))
        if not found:
            sys.exit(f'{page.name}: no picture {pattern}')
        if keep_pictures:
            keep(found[-1], PICTURES / name)


def keep(picture: Path, out: Path) -> None:
    """A JPEG for a page: no wider than 900 pixels, no larger than 100 kB."""
    out.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(picture).convert('RGB')
    image.thumbnail((WIDEST, WIDEST))
    for quality in (90, 80, 70, 60, 50):
        image.save(out, quality=quality, optimize=True)
        if out.stat().st_size <= LARGEST:
            return
    sys.exit(f'{out} is larger than {LARGEST} bytes.')


if __name__ == '__main__':
    main()
