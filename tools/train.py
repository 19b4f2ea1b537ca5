"""Train by a config: python tools/train.py configs/dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py --work-dir DIR"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import add_launch_arguments, existing, import_yapf, new_parser

if TYPE_CHECKING:
    from mmengine.config import Config

INTERRUPTED = 130  # the shell's status after Ctrl-C


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


def started_again() -> bool:
    """Whether torchrun or Slurm has started this training again: then it goes on, whatever the first command said."""
    return any(int(os.environ.get(name) or 0) for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'))


def apply_training_arguments(cfg: Config, args: argparse.Namespace) -> None:
    from dino_plugin.engine.training.latest_checkpoint import has_begun

    begun = has_begun(cfg.work_dir)
    if begun and started_again():
        args.resume = 'auto'
    if args.resume == 'auto' and (begun or not cfg.get('load_from')):
        cfg.resume, cfg.load_from = True, None
    elif args.resume and args.resume != 'auto':
        cfg.resume, cfg.load_from = True, args.resume
    if args.amp:
        ours = cfg.optim_wrapper.type == 'dino_plugin.SelfDistillationOptimWrapper'
        cfg.optim_wrapper.update(dict(precision='bf16') if ours else dict(type='AmpOptimWrapper'))
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if 'KNNHook' not in str(hook['type'])]
    if args.auto_scale_lr:
        cfg.merge_from_dict({'auto_scale_lr.enable': True})


def command(resume: str | None = None) -> str:
    """The command of this training; with `resume`, as it was given, the one that goes on from the latest checkpoint."""
    words = ['python', *sys.argv]
    if resume is not None:
        words = [word for word in words if word not in ('--resume', resume, f'--resume={resume}')] + ['--resume']
    return shlex.join(words)


def interrupted(work_dir: str, resume: str | None, began: float) -> str:
    """The message after a Ctrl-C that saved nothing, with the command to continue."""
    latest = Path(work_dir, 'last_checkpoint')  # may be of an earlier training
    if latest.is_file() and (resume or latest.stat().st_mtime >= began):
        return f'\nStopped. To continue from {latest.read_text().strip()}:\n    {command(resume or "")}'
    return f'\nStopped before the first checkpoint in {work_dir}. To start again:\n    {command()}'


def end(message: str, status: int) -> None:
    """End the program; one process speaks for all."""
    from mmengine.dist import is_main_process

    if is_main_process():
        print(message, file=sys.stderr)
    raise SystemExit(status) from None


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    if args.launcher != 'none':
        import_yapf()
    from mmengine.registry import RUNNERS

    from dino_plugin.commands.launch import load_config
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.commands.runner import Runner
    from dino_plugin.engine.training.hooks.stop import TrainingStopped

    cfg = load_config(args)
    apply_training_arguments(cfg, args)
    began = time.time()
    with explained(cfg, 'train', 'val'):
        try:
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            runner.train()
        except TrainingStopped as stop:
            end(f'\n{stop.reason}. To continue:\n    {command(args.resume or "")}', stop.code)
        except KeyboardInterrupt:
            end(interrupted(cfg.work_dir, args.resume, began), INTERRUPTED)


if __name__ == '__main__':
    main()
