"""Patch features as colours: python tools/visualize_pca.py CHECKPOINT IMAGE [IMAGE ...] --out features.png"""

import argparse
from pathlib import Path

import cv2
import torch
from mmengine.config import DictAction

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.decoding import decode_image
from dino_plugin.visualization.pca import pca_of_images


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show patch features as colours, shared by all images.')
    parser.add_argument('checkpoint', help="a training checkpoint, an exported backbone, or the authors' own")
    parser.add_argument('images', nargs='+', help='all of the shape of the first, after resizing')
    parser.add_argument('--out', default='features.png', help='the picture (default: features.png)')
    parser.add_argument('--size', type=int, default=480, help='shorter side in pixels (default: 480)')
    parser.add_argument('--smooth', action='store_true', help='enlarge the maps smoothly')
    parser.add_argument('--backbone', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='what the checkpoint does not say: model_name=vit_small_patch16_224')  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    backbone = TimmBackbone(**args.backbone, checkpoint=args.checkpoint).to(device)
    frames = [decode_image(Path(path).read_bytes()) for path in args.images]
    sheet = pca_of_images(backbone, frames, args.size, args.smooth)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(args.out, sheet[..., ::-1]):
        raise SystemExit(f'{args.out} could not be written: use a name that ends in .png or .jpg.')
    print(args.out)


if __name__ == '__main__':
    main()
