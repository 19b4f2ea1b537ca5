"""Features of images for other programs: python tools/extract_features.py CHECKPOINT --images DIR --out features.npy"""

import argparse
from pathlib import Path

from dino_plugin.commands.command_line import add_options, existing, fail, option_values


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the features of all images below a folder. An interrupted run goes on where it was.'
    )
    parser.add_argument(
        'checkpoint',
        type=_none_or_existing,
        help="a training checkpoint, an exported backbone, the authors' own, an address, or 'none'",
    )
    parser.add_argument('--images', type=existing, required=True, help='a folder, or a text list of paths')
    parser.add_argument(
        '--out', required=True, help='.safetensors or .npy, with a list of names beside it, or .parquet'
    )
    parser.add_argument('--features', choices=['class', 'mean', 'class+mean', 'patches'], default='class',
                        help='class token, mean of the patches, both, or the patch grids (default: class)')  # fmt: skip
    parser.add_argument('--last-blocks', type=int, default=1, help='class tokens of this many last blocks (default: 1)')
    parser.add_argument('--resize', type=int, default=256, help='pixels of the shorter side (default: 256)')
    parser.add_argument('--crop', type=int, default=224, help='pixels of the square from the centre (default: 224)')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--num-workers', type=int, default=2)
    parser.add_argument('--precision', choices=['fp32', 'bf16', 'fp16'], default='fp32')
    add_options(parser, '--backbone', 'what the checkpoint does not say: model_name=vit_small_patch16_224')
    return parser.parse_args()


def _none_or_existing(path: str) -> str:
    return path if path == 'none' else existing(path)


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    import torch

    import dino_plugin.engine.vocabulary  # noqa: F401
    from dino_plugin.backbones.timm_backbone import TimmBackbone
    from dino_plugin.data.images.image_dataset import ImageDataset
    from dino_plugin.engine.precision import PRECISIONS
    from dino_plugin.evaluation.feature_files import write_features

    images = Path(args.images).expanduser()
    pipeline = [
        dict(type='dino_plugin.LoadImage'),
        dict(type='dino_plugin.ResizeCentreCrop', resize=args.resize, crop=args.crop),
        dict(type='dino_plugin.PackImage'),
    ]
    checkpoint = None if args.checkpoint == 'none' else args.checkpoint
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        source = dict(data_root=images) if images.is_dir() else dict(ann_file=images.absolute())
        dataset = ImageDataset(**source, pipeline=pipeline)
        backbone = TimmBackbone(**option_values(args.backbone), checkpoint=checkpoint).to(device)
        written = write_features(
            backbone,
            dataset,
            args.out,
            args.features,
            args.last_blocks,
            args.batch_size,
            args.num_workers,
            autocast_dtype=PRECISIONS[args.precision],
        )
    except (ValueError, ImportError, OSError) as error:
        fail(str(error).replace('--cfg-options model.backbone.', '--backbone '))  # there is no config
    for name in written.failed:
        print(f'{name} cannot be read and has no row')
    print(f'{written.out}: {" x ".join(map(str, written.shape))}')


if __name__ == '__main__':
    main()
