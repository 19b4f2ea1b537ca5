"""A picture of the views a config trains on: python tools/browse_views.py CONFIG --out views.png --num 8"""

import argparse
import sys
from pathlib import Path

try:
    import dino_plugin  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'dino_plugin':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner.utils import set_random_seed

from dino_plugin.config_files import find_config, register_config_package
from dino_plugin.registry import DATASETS
from dino_plugin.visualization.contact_sheet import contact_sheet, save_image, views_of_sample


def parse_args():
    parser = argparse.ArgumentParser(description='A picture of the views that a config trains on.')
    parser.add_argument('config', help='a training config: a path, or a name below configs/')
    parser.add_argument('--out', default='work_dirs/views.png', help='picture to write (default: %(default)s)')
    parser.add_argument('--num', type=int, default=8, help='images, spread over the dataset (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value pairs that change the config')
    args = parser.parse_args()
    if args.num < 1:
        parser.error('--num must be at least 1')
    return args


def label_of(dataset, index):
    dataset = getattr(dataset, 'dataset', dataset)
    path = dataset.get_data_info(index).get('img_path', '') if hasattr(dataset, 'get_data_info') else ''
    return f'{index}  {path}'


def main():
    args = parse_args()
    register_config_package()
    config = Config.fromfile(find_config(args.config))
    if args.cfg_options:
        config.merge_from_dict(args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmengine'))
    dataset = DATASETS.build(config.train_dataloader.dataset)
    set_random_seed(0)
    indices = [number * len(dataset) // args.num for number in range(min(args.num, len(dataset)))]
    views = [views_of_sample(dataset[index]) for index in indices]
    sheet = contact_sheet(views, [label_of(dataset, index) for index in indices])
    print(f'{len(views)} images, {len(views[0])} views each: {save_image(sheet, args.out)}')


if __name__ == '__main__':
    main()
