"""What the programs that draw pictures share: their arguments and images; quick to import."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import fail
from dino_plugin.commands.network_arguments import CHECKPOINT_HELP, add_backbone_options, checkpoint_name

if TYPE_CHECKING:
    import numpy as np

MOST_IMAGES = 24


def picture_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the argument ``checkpoint`` and the options ``--backbone`` and ``--size``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('checkpoint', type=checkpoint_name, help=CHECKPOINT_HELP)
    parser.add_argument('--size', type=int, default=480, help='shorter side in pixels (default: 480)')
    add_backbone_options(parser)
    return parser


def image_paths(names: Sequence[str], most: int | None = MOST_IMAGES) -> list[Path]:
    """The images, and those of folders in natural order; at most ``most``, spread over all."""
    from dino_plugin.data.images.image_files import find_images
    from dino_plugin.data.images.user_files import natural_key

    paths: list[Path] = []
    for name in names:
        found = sorted(find_images(name)[0], key=natural_key) if Path(name).is_dir() else [name]
        if not found:
            fail(f'no image in {name} or below')
        if found != sorted(found):
            print(f'{name}: in the order of the numbers in the names, 2.jpg before 10.jpg.', file=sys.stderr)
        paths += map(Path, found)
    if most is None or len(paths) <= most:
        return paths
    print(f'{most} of {len(paths)} images, spread over all.', file=sys.stderr)
    return [paths[index * len(paths) // most] for index in range(most)]


def read_or_fail(path: str | Path) -> np.ndarray:
    """RGB pixels of an image; the program ends with a message if it cannot be read."""
    from dino_plugin.data.images.decoding import read_image

    try:
        return read_image(path)
    except (ValueError, OSError) as error:
        fail(str(error))
