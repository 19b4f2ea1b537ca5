"""Which images the benchmarks of the data read."""

import argparse
import random
from pathlib import Path

from dino_plugin.data.images.image_dataset import find_images
from dino_plugin.openmmlab.config_files import CHECKOUT

BUNDLED = CHECKOUT / 'tests/data/davis/JPEGImages/480p'


def image_paths(options: argparse.Namespace) -> list[str]:
    """All images of the folder, in an order that is random and always the same.

    Raises:
        SystemExit: If there is none.
    """
    folder = Path(options.images) if options.images else BUNDLED
    paths = find_images(str(folder))[0] if folder.is_dir() else []
    if not paths:
        raise SystemExit(f'No images below {folder}: give a folder that holds some as --images.')
    random.Random(0).shuffle(paths)
    return paths
