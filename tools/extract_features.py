"""Features of images for other programs: python tools/extract_features.py CHECKPOINT --images DIR --out features.npy"""

import argparse

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.network_arguments import (
    CHECKPOINT_HELP,
    add_backbone_options,
    backbone_or_fail,
    checkpoint_name,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the features of all images below a folder. An interrupted run goes on where it was.'
    )
    parser.add_argument('checkpoint', type=checkpoint_name, help=CHECKPOINT_HELP)
    parser.add_argument(
        '--images',
        type=existing,
        required=True,
        help='a folder, or a text list of paths, absolute or from the working directory',
    )
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
    add_backbone_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.commands.features_of_images import write_features_of_images
    from dino_plugin.weights.normalisation import normalisation_of

    backbone = backbone_or_fail(args.checkpoint, args.backbone)
    try:
        said = None if args.checkpoint == 'none' else normalisation_of(args.checkpoint)
        written = write_features_of_images(
            backbone, args.images, args.out, args.features, args.last_blocks, args.resize, args.crop, args.batch_size,
            args.num_workers, args.precision, said,
        )  # fmt: skip
    except (ValueError, ImportError, OSError) as error:
        fail(str(error))
    for name in written.failed:
        print(f'{name} cannot be read and has no row')
    print(f'{written.out}: {" x ".join(map(str, written.shape))}')


if __name__ == '__main__':
    main()
