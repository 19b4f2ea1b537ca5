"""Patch features as colours: python tools/visualize_pca.py CHECKPOINT IMAGE_OR_FOLDER [...] --out features.png"""

import argparse
import sys
from pathlib import Path

from dino_plugin.commands.command_line import add_options, existing, fail, option_values

MOST_IMAGES = 24


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show patch features as colours, shared by all images.')
    parser.add_argument('checkpoint', type=existing, help="a training checkpoint, an exported one, or the authors' own")
    parser.add_argument('images', nargs='+', type=existing, metavar='IMAGE_OR_FOLDER',
                        help='each keeps its shape; a folder: all images in and below it, in natural order; '
                        f'of more than {MOST_IMAGES} images, that many are chosen, spread over all')  # fmt: skip
    parser.add_argument('--out', default='features.png', help='the picture (default: features.png)')
    parser.add_argument('--size', type=int, default=480, help='shorter side in pixels (default: 480)')
    parser.add_argument('--smooth', action='store_true', help='enlarge the maps by interpolation')
    add_options(parser, '--backbone', 'what the checkpoint does not say: model_name=vit_small_patch16_224')
    return parser.parse_args()


def image_paths(names: list[str]) -> list[Path]:
    """The images, and those of folders in natural order; at most `MOST_IMAGES`, spread over all."""
    from dino_plugin.data.images.image_dataset import find_images
    from dino_plugin.data.images.user_files import natural_key

    paths: list[Path] = []
    for name in names:
        found = sorted(find_images(name)[0], key=natural_key) if Path(name).is_dir() else [name]
        if not found:
            fail(f'no image in {name} or below')
        if found != sorted(found):
            print(f'{name}: in the order of the numbers in the names, 2.jpg before 10.jpg.', file=sys.stderr)
        paths += map(Path, found)
    if len(paths) <= MOST_IMAGES:
        return paths
    print(f'{MOST_IMAGES} of {len(paths)} images, spread over all.', file=sys.stderr)
    return [paths[index * len(paths) // MOST_IMAGES] for index in range(MOST_IMAGES)]


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    import torch

    from dino_plugin.backbones.timm_backbone import TimmBackbone
    from dino_plugin.data.images.decoding import read_image
    from dino_plugin.visualization.contact_sheet import save_image
    from dino_plugin.visualization.pca import pca_of_images

    try:
        frames = [read_image(path) for path in image_paths(args.images)]
    except (ValueError, OSError) as error:
        fail(str(error))
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        backbone = TimmBackbone(**option_values(args.backbone), checkpoint=args.checkpoint).to(device)
    except ValueError as error:
        fail(str(error).replace('--cfg-options model.backbone.', '--backbone '))  # there is no config
    sheet = pca_of_images(backbone, frames, args.size, args.smooth)
    try:
        print(save_image(sheet, args.out))
    except ValueError as error:
        fail(str(error))


if __name__ == '__main__':
    main()
