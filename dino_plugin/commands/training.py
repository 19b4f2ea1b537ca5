"""A training by a config, for tools/train.py and for `dino_plugin.pretrain`: one implementation."""

import argparse
import os
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS

from dino_plugin.commands.auto import write_recipe
from dino_plugin.commands.command_line import AUTO, option_values, tell
from dino_plugin.commands.dry_run import DryRunHook
from dino_plugin.commands.everyday_options import apply_train_options, short_train_option
from dino_plugin.commands.few_images import SCORECARD_HOOKS
from dino_plugin.commands.launch import load_config
from dino_plugin.commands.mistakes import explained
from dino_plugin.commands.smoke import smoke
from dino_plugin.engine.training.latest_checkpoint import has_begun


def training_config(args: argparse.Namespace) -> Config:
    """The config that the arguments of tools/train.py describe.

    Raises:
        SystemExit: With a message, if they contradict each other or the config.
    """

    def change(cfg: Config) -> None:
        with explained(cfg, 'train', 'val', short=short_train_option):
            apply_train_options(cfg, args, option_values(args.cfg_options))

    if args.config == AUTO:
        args.config, args.images = write_recipe(args), None
    cfg = load_config(args, change)
    if getattr(args, 'smoke', False):
        with explained(cfg, 'train', 'val', short=short_train_option):
            tell(smoke(cfg, args, option_values(args.cfg_options)))
    apply_training_arguments(cfg, args)
    return cfg


def training_runner(cfg: Config, dry_run: bool = False) -> Any:
    """The runner of a config, ours or the config's own; with `dry_run` one that ends when its first batch is there."""
    from dino_plugin.commands.runner import Runner

    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if dry_run:
        runner.register_hook(DryRunHook())
    return runner


def started_again() -> bool:
    """Whether torchrun or Slurm has started this training again: then it goes on, whatever the first command said."""
    return any(int(os.environ.get(name) or 0) for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'))


def apply_training_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Changes a config as the other options of tools/train.py say; ``args.resume`` may change with it."""
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
        measuring = ('KNNHook', *SCORECARD_HOOKS)
        cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if not str(hook['type']).endswith(measuring)]
    if args.auto_scale_lr:
        cfg.merge_from_dict({'auto_scale_lr.enable': True})
