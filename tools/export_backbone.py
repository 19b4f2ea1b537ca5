"""Write a checkpoint's backbone for another program: python tools/export_backbone.py CHECKPOINT [OUT] --format timm"""

import argparse
from pathlib import Path

from dino_plugin.data.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.export import export_backbone
from dino_plugin.weights.export_formats import FORMATS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a checkpoint's backbone for another program.")
    parser.add_argument('checkpoint', help="of a training by tools/train.py, or the authors' own")
    parser.add_argument(
        'out',
        nargs='?',
        help='name without a hash, .safetensors (default) or .pth; a folder for huggingface '
        '(default: the name of the checkpoint, beside it)',
    )
    parser.add_argument(
        '--format', choices=FORMATS, default='timm', help="original: names of the authors' repositories"
    )
    parser.add_argument('--source', choices=['teacher', 'student'], default='teacher')
    parser.add_argument(
        '--mean', nargs='+', type=float, default=IMAGENET_MEAN_LEVELS, help="if not ImageNet's; of 0 to 255"
    )
    parser.add_argument('--std', nargs='+', type=float, default=IMAGENET_STD_LEVELS, help='likewise')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_suffix('')
    path = export_backbone(args.checkpoint, out, args.source, args.mean, args.std, args.format)
    print(f'{path}\n{path.with_suffix(".json")}')


if __name__ == '__main__':
    main()
