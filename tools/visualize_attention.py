"""What each head attends to: python tools/visualize_attention.py CHECKPOINT IMAGE|FOLDER|VIDEO [--out attention.png]"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.network_arguments import backbone_or_fail
from dino_plugin.commands.picture_tools import image_paths, picture_parser, read_or_fail

if TYPE_CHECKING:
    import numpy as np

    from dino_plugin.backbones.timm_backbone import TimmBackbone

VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')


def parse_args() -> argparse.Namespace:
    parser = picture_parser('Show the attention of the class token: the mean of the heads and each head.')
    parser.add_argument('images', type=existing, metavar='IMAGE|FOLDER|VIDEO',
                        help='a folder: a picture for each image in and below it; a video: a film')  # fmt: skip
    parser.add_argument('--out', help='the picture, the folder of pictures, or the film '
                        '(default: attention.png, attention/ or attention.mp4)')  # fmt: skip
    parser.add_argument('--block', type=int, default=-1, help='from 0 on, or from the end if negative (default: -1)')
    parser.add_argument('--threshold', type=float, default=0.6, help='share of the attention in a mask (default: 0.6)')
    parser.add_argument('--film', action='store_true', help='the images of a folder are the frames of a film')
    parser.add_argument('--patches', action='store_true', help='draw each patch as a square, without interpolation')
    return parser.parse_args()


def sheet_of(args: argparse.Namespace, backbone: TimmBackbone, image: np.ndarray) -> np.ndarray:
    import torch

    from dino_plugin.evaluation.attention.images import attention_of_image
    from dino_plugin.evaluation.attention.mass import mass_mask
    from dino_plugin.visualization.attention import attention_sheet

    try:
        maps = attention_of_image(backbone, image, [args.block], args.size)[0].class_maps()[0].cpu()
        maps = torch.cat([maps.mean(dim=0, keepdim=True), maps])
        masks = mass_mask(maps, args.threshold)
    except ValueError as error:
        fail(str(error))
    names = ['mean of heads', *(f'head {number}' for number in range(len(maps) - 1))]
    return attention_sheet(image, maps.numpy(), masks.numpy(), names, smooth=not args.patches)


def frames_of(path: Path) -> tuple[float, Iterator[np.ndarray]]:
    """Frames a second, and the frames of a video in RGB, one at a time."""
    import cv2

    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        fail(f'{path} cannot be read as a video')

    def frames() -> Iterator[np.ndarray]:
        while (found := video.read())[0]:
            yield cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB)

    return video.get(cv2.CAP_PROP_FPS) or 24.0, frames()


def write_film(args: argparse.Namespace, backbone: TimmBackbone, path: Path) -> None:
    from dino_plugin.visualization.overlay import VideoWriter

    out = Path(args.out or 'attention.mp4')
    if out.suffix != '.mp4':
        fail(f'a film needs a name that ends in .mp4, got --out {out}')
    rate, frames = (12.0, map(read_or_fail, image_paths([str(path)], None))) if path.is_dir() else frames_of(path)
    written, shape = 0, None
    with VideoWriter(out, rate) as film:
        for written, frame in enumerate(frames, 1):
            if shape not in (None, frame.shape):
                fail(f'frame {written} has another size than those before it: a film needs frames of one size')
            shape = frame.shape
            film.write(sheet_of(args, backbone, frame))
    if not written:
        fail(f'{path} has no frame that can be read')
    print(f'{out}: {written} frames')


def main() -> None:
    args = parse_args()
    path = Path(args.images)
    is_video = path.suffix.lower() in VIDEOS
    if args.film and not (is_video or path.is_dir()):
        fail(f'--film needs a folder of frames or a video, got {path}')
    backbone = backbone_or_fail(args.checkpoint, args.backbone)
    if is_video or args.film:
        write_film(args, backbone, path)
        return
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.visualization.contact_sheet import save_image

    folder = path.is_dir()
    for found in image_paths([str(path)], None):
        out = Path(args.out or ('attention' if folder else 'attention.png'))
        if folder:
            out = out / found.relative_to(path).with_suffix('.png')
        try:
            print(save_image(sheet_of(args, backbone, read_or_fail(found)), out))
        except ValueError as error:
            fail(str(error))


if __name__ == '__main__':
    main()
