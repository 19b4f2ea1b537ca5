"""Train by a config: python tools/train.py configs/dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py --work-dir DIR"""

import argparse
import shlex
import sys

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from dino_plugin.engine.launch import add_arguments, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train by a config.')
    add_arguments(parser)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='PATH', help='go on from PATH, or from the latest')
    parser.add_argument('--amp', action='store_true', help='mixed precision (configs of dino_plugin have it already)')
    parser.add_argument('--no-validate', action='store_true', help='no evaluation during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the total batch size')
    return parser.parse_args()


def apply_training_arguments(cfg: Config, args: argparse.Namespace) -> None:
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


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    apply_training_arguments(cfg, args)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    try:
        runner.train()
    except KeyboardInterrupt:
        command = shlex.join(['python', *sys.argv, *([] if args.resume else ['--resume'])])
        raise SystemExit(f'\nStopped. To go on from the latest checkpoint in {cfg.work_dir}:\n    {command}') from None


if __name__ == '__main__':
    main()
