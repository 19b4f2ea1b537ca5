"""Train by a config: python tools/train.py configs/dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py --work-dir DIR"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import add_launch_arguments, existing, import_yapf, new_parser

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = new_parser('Train by a config.')
    add_launch_arguments(parser)
    parser.add_argument('--resume', nargs='?', const='auto', type=_auto_or_existing, metavar='PATH',
                        help='continue from PATH, or from the latest checkpoint')  # fmt: skip
    parser.add_argument('--amp', action='store_true', help='bf16; without it our configs choose by device')
    parser.add_argument('--no-validate', action='store_true', help='no evaluation during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the total batch size')
    return parser.parse_args()


def _auto_or_existing(path: str) -> str:
    return path if path == 'auto' else existing(path)


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


def stopped(work_dir: str, resumed: bool, began: float) -> str:
    """The message after Ctrl-C, with the command to continue."""
    command = ['python', *sys.argv]
    latest = Path(work_dir, 'last_checkpoint')  # for mmengine's --resume; may be of an earlier training
    if latest.is_file() and (resumed or latest.stat().st_mtime >= began):
        command += [] if resumed else ['--resume']
        return f'\nStopped. To continue from {latest.read_text().strip()}:\n    {shlex.join(command)}'
    return f'\nStopped before the first checkpoint in {work_dir}. To start again:\n    {shlex.join(command)}'


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    if args.launcher != 'none':
        import_yapf()
    from mmengine.registry import RUNNERS

    from dino_plugin.commands.launch import load_config
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.commands.runner import Runner

    cfg = load_config(args)
    apply_training_arguments(cfg, args)
    began = time.time()
    with explained(cfg, 'train', 'val'):
        try:
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            runner.train()
        except KeyboardInterrupt:
            raise SystemExit(stopped(cfg.work_dir, bool(args.resume), began)) from None


if __name__ == '__main__':
    main()
