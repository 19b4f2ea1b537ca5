"""Where is what a text says? python tools/prompt.py CHECKPOINT IMAGE 'a dog' 'grass' [--out prompt.png]"""

from __future__ import annotations

import argparse

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.picture_tools import read_or_fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show where in an image a text glows.')
    parser.add_argument('checkpoint', type=existing, help='of a training by a config of configs/text')
    parser.add_argument('image', type=existing)
    parser.add_argument('texts', nargs='+', metavar='TEXT', help="such as 'a dog'")
    parser.add_argument('--out', default='prompt.png', help='the picture (default: prompt.png)')
    parser.add_argument('--size', type=int, default=448, help='shorter side for the network, in pixels (default: 448)')
    parser.add_argument('--patches', action='store_true', help='draw each patch as a square, without interpolation')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.size < 1:
        fail(f'--size {args.size}: expected a number of pixels above 0')
    image = read_or_fail(args.image)
    # Imported here, so that --help and usage errors are quick.
    import torch

    from dino_plugin.evaluation.text.class_names import class_names
    from dino_plugin.evaluation.text.prompt import load_towers, prompt_sheet, text_maps
    from dino_plugin.visualization.contact_sheet import save_image

    try:
        texts = class_names(args.texts)
        model = load_towers(args.checkpoint).to('cuda' if torch.cuda.is_available() else 'cpu')
        maps = text_maps(model, image, texts, args.size)
        print(save_image(prompt_sheet(image, maps, texts, smooth=not args.patches), args.out))
    except (ValueError, OSError, ImportError) as error:
        fail(str(error))


if __name__ == '__main__':
    main()
