"""Train by a config: python tools/train.py configs/dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py --work-dir DIR"""

import argparse
import os
import shlex
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
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.checkpoint import use_safe_loading
from dino_plugin.config_files import find_config, register_config_package


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train by a config.')
    parser.add_argument('config', help='a file, or a name below configs/ for one that ships with dino_plugin')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: ./work_dirs/<name of the config>)')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='PATH', help='go on from PATH, or from the latest')
    parser.add_argument('--amp', action='store_true', help='mixed precision (configs of dino_plugin have it already)')
    parser.add_argument('--no-validate', action='store_true', help='no evaluation during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the total batch size')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    cfg = Config.fromfile(find_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}'
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'auto' else args.resume
    if args.amp:
        ours = cfg.optim_wrapper.type == 'dino_plugin.SelfDistillationOptimWrapper'
        cfg.optim_wrapper.update(dict(precision='bf16') if ours else dict(type='AmpOptimWrapper'))
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if 'KNNHook' not in str(hook['type'])]
    if args.auto_scale_lr:
        cfg.merge_from_dict({'auto_scale_lr.enable': True})
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
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    try:
        runner.train()
    except KeyboardInterrupt:
        command = shlex.join(['python', *sys.argv, *([] if args.resume else ['--resume'])])
        raise SystemExit(f'\nStopped. To go on from the latest checkpoint in {cfg.work_dir}:\n    {command}') from None


if __name__ == '__main__':
    main()
