"""A picture of the views that a config trains on: python tools/browse_views.py CONFIG --out views.png"""

import argparse

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.config_files import find_config
from dino_plugin.visualization.contact_sheet import save_image, views_sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='A picture of the views that a config trains on.')
    parser.add_argument('config', help='a file, or a name below configs/ for one that ships with dino_plugin')
    parser.add_argument('--out', default='work_dirs/views.png', help='picture to write (default: %(default)s)')
    parser.add_argument('--num', type=int, default=8, help='images, spread over the dataset (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(find_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    print(save_image(views_sheet(DATASETS.build(cfg.train_dataloader.dataset), args.num), args.out))


if __name__ == '__main__':
    main()
