"""Write a training checkpoint's backbone for timm: python tools/export_backbone.py CHECKPOINT [--out DIR/NAME]"""

import argparse
from pathlib import Path

from dino_plugin.data.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.export import export_backbone


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a training checkpoint's backbone for timm.")
    parser.add_argument('checkpoint', help='of a training by tools/train.py')
    parser.add_argument('--out', help='name without a hash (default: the name of the checkpoint, beside it)')
    parser.add_argument('--source', choices=['teacher', 'student'], default='teacher')
    parser.add_argument(
        '--mean', nargs='+', type=float, default=IMAGENET_MEAN_LEVELS, help="if not ImageNet's; of 0 to 255"
    )
    parser.add_argument('--std', nargs='+', type=float, default=IMAGENET_STD_LEVELS, help='likewise')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_suffix('')
    path = export_backbone(args.checkpoint, out, args.source, args.mean, args.std)
    print(f'{path}\n{path.with_suffix(".json")}')


if __name__ == '__main__':
    main()
