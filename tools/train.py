"""Train by a config: python tools/train.py configs/dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py --work-dir DIR"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from dino_plugin.commands.command_line import import_yapf, program
from dino_plugin.commands.everyday_options import short_train_option
from dino_plugin.commands.training_arguments import training_parser

INTERRUPTED = 130  # the shell's status after Ctrl-C


def parse_args() -> argparse.Namespace:
    return training_parser().parse_args()


def command(resume: str | None = None) -> str:
    """The command of this training; with `resume`, as it was given, the one that goes on from the latest checkpoint."""
    words = [*program(), *sys.argv[1:]]
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
    from dino_plugin.commands.dry_run import DryRunEnded
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.commands.training import training_config, training_runner
    from dino_plugin.engine.training.hooks.stop import TrainingStopped

    cfg = training_config(args)
    began = time.time()
    with explained(cfg, 'train', 'val', short=short_train_option):
        try:
            training_runner(cfg, args.dry_run).train()
        except DryRunEnded as ended:
            end(ended.message, 0)
        except TrainingStopped as stop:
            end(f'\n{stop.reason}. To continue:\n    {command(args.resume or "")}', stop.code)
        except KeyboardInterrupt:
            end(interrupted(cfg.work_dir, args.resume, began), INTERRUPTED)


if __name__ == '__main__':
    main()
