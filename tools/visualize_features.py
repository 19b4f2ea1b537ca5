"""What patch features tell: python tools/visualize_features.py CHECKPOINT IMAGE_OR_FOLDER [...] --out features.png"""

import argparse

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.network_arguments import backbone_or_fail
from dino_plugin.commands.picture_tools import MOST_IMAGES, image_paths, picture_parser, read_or_fail


def parse_args() -> argparse.Namespace:
    parser = picture_parser('Show patch features as colours, shared by all images: their principal components, or …')
    parser.add_argument('images', nargs='+', type=existing, metavar='IMAGE_OR_FOLDER',
                        help='each keeps its shape; a folder: all images in and below it, in natural order; '
                        f'of more than {MOST_IMAGES} images, that many are chosen, spread over all')  # fmt: skip
    parser.add_argument('--out', default='features.png', help='the picture (default: features.png)')
    parser.add_argument('--smooth', action='store_true', help='enlarge the maps by interpolation')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--point', type=_point, metavar='ROW,COLUMN',
                      help='how similar all patches are to the one at this pixel of the first image')  # fmt: skip
    what.add_argument('--parts', type=int, metavar='K', help='K groups of similar patches, by k-means')
    what.add_argument('--matches', type=int, metavar='N', help='N pairs of patches that fit between two images')
    return parser.parse_args()


def _point(text: str) -> tuple[int, int]:
    try:
        row, column = map(int, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected row,column in pixels, such as 120,300, got {text!r}') from None
    return row, column


def main() -> None:
    args = parse_args()
    images = [read_or_fail(path) for path in image_paths(args.images)]
    if args.matches is not None and len(images) != 2:
        fail(f'--matches needs two images, got {len(images)}')
    backbone = backbone_or_fail(args.checkpoint, args.backbone)
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.visualization import similarity
    from dino_plugin.visualization.contact_sheet import save_image
    from dino_plugin.visualization.patch_grids import patch_grids
    from dino_plugin.visualization.pca import pca_of_images

    try:
        if args.point is None and args.parts is None and args.matches is None:
            sheet = pca_of_images(backbone, images, args.size, args.smooth)
        else:
            shown, grids = patch_grids(backbone, images, args.size)
            if args.point is not None:
                places = (place * new // old for place, new, old in zip(args.point, shown[0].shape, images[0].shape))
                sheet = similarity.similarity_sheet(shown, grids, tuple(places), args.smooth)
            elif args.parts is not None:
                sheet = similarity.parts_sheet(shown, similarity.cluster_patches(grids, args.parts))
            else:
                pairs, _ = similarity.match_patches(*grids, args.matches)
                sheet = similarity.matches_sheet(shown, grids, pairs)
        print(save_image(sheet, args.out))
    except ValueError as error:
        fail(str(error))


if __name__ == '__main__':
    main()
