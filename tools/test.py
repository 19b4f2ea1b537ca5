"""Evaluate a checkpoint by a config: python tools/test.py configs/knn/knn_imagenette.py CHECKPOINT"""

import argparse
import os
import sys
from pathlib import Path

try:
    import dino_plugin
except ModuleNotFoundError as error:
    if error.name != 'dino_plugin':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.runner import Runner
from rich import print as rich_print
from rich.table import Table

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.checkpoint import use_safe_loading
from dino_plugin.config_files import find_config, register_config_package
from dino_plugin.engine.feature_extractor import backbone_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint by a config.')
    parser.add_argument('config', help='a file, or a name below configs/ for one that ships with dino_plugin')
    parser.add_argument('checkpoint', help="a training checkpoint, an exported backbone, the authors' own, or 'none'")
    parser.add_argument('--work-dir', help='where the log goes (default: ./work_dirs/<name of the config>)')
    parser.add_argument('--out', help='write the results to this .json, .yaml or .pkl file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    cfg = Config.fromfile(find_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}'
    if args.checkpoint != 'none' and cfg.model.type.endswith('FeatureExtractor'):
        cfg.model.backbone = backbone_config(args.checkpoint, cfg.model.backbone)
    elif args.checkpoint != 'none':
        cfg.load_from = args.checkpoint
    return cfg


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    use_safe_loading()
    register_config_package()
    cfg = load_config(args)
    if args.launcher == 'pytorch' and get_device() == 'cpu':
        # mmengine's own ways to join the processes and to wrap the model ask for a GPU.
        torch.distributed.init_process_group('gloo')
        cfg.setdefault('model_wrapper_cfg', dict(device_ids=None, broadcast_buffers=False))
    results = Runner.from_cfg(cfg).test()
    if is_main_process():
        table = Table('result', 'value', title=f'{Path(args.config).stem}: {args.checkpoint}')
        for name, value in results.items():
            table.add_row(name, f'{value:.2f}' if isinstance(value, float) else str(value))
        rich_print(table)
        if args.out:
            dump(results, args.out)


if __name__ == '__main__':
    main()
