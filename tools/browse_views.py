"""A picture of the views that a config trains on: python tools/browse_views.py CONFIG --out views.png"""

import argparse

from dino_plugin.commands.command_line import new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('A picture of the views that a config trains on.')
    parser.add_argument('--out', default='work_dirs/views.png', help='picture to write (default: %(default)s)')
    parser.add_argument('--num', type=int, default=8, help='images, spread over the dataset (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from mmengine.registry import DATASETS, init_default_scope

    from dino_plugin.commands.launch import read_config
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.visualization.contact_sheet import save_image, views_sheet

    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with explained(cfg, 'train'):
        print(save_image(views_sheet(DATASETS.build(cfg.train_dataloader.dataset), args.num), args.out))


if __name__ == '__main__':
    main()
