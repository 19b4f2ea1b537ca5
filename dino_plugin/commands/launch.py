"""From the arguments of tools/train.py and tools/test.py to a config and a process group."""

import argparse
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.commands.command_line import fail, option_values, tell
from dino_plugin.commands.slurm import port_of_job, variables_of_torchrun
from dino_plugin.commands.unread_options import unread_options
from dino_plugin.core.reduce import join_processes_on_cpu
from dino_plugin.engine.training.latest_checkpoint import has_begun
from dino_plugin.openmmlab.config_files import find_config

# What starts several processes, and a variable by which they know it.
STARTERS = dict(
    pytorch=('torchrun (tools/dist_train.sh)', 'RANK'), slurm=('srun (tools/slurm_train.sh)', 'SLURM_PROCID')
)


def load_config(args: argparse.Namespace, change: Callable[[Config], None] | None = None) -> Config:
    """The config with the command line's changes.

    Args:
        args: Of the program.
        change: What the program's short options do to the config.
    """
    starter, variable = STARTERS.get(args.launcher, ('', ''))
    if variable and variable not in os.environ:
        fail(f'--launcher {args.launcher} is for processes that {starter} started; for a single one leave it out')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args)
    if change is not None:
        change(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = _work_dir(cfg, args)
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f'{cfg.work_dir} cannot be written ({error}); choose another folder: --work-dir DIR')
    if args.launcher == 'slurm':
        os.environ['MASTER_PORT'] = port_of_job()
    if args.launcher in ('pytorch', 'slurm') and get_device() == 'cpu':
        # mmengine's own functions to join processes and to wrap the model need a GPU.
        if args.launcher == 'slurm':
            os.environ.update(variables_of_torchrun())
        join_processes_on_cpu()
        cfg.setdefault('model_wrapper_cfg', dict(device_ids=None, broadcast_buffers=False))
        cfg.sync_bn = None  # PyTorch has none for CPUs
    return cfg


def _work_dir(cfg: Config, args: argparse.Namespace) -> str:
    """Of the option or the config. A trial with --smoke never writes over the checkpoints of a training."""
    folder = os.path.expanduser(args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}')
    if not getattr(args, 'smoke', False) or (args.work_dir and not has_begun(folder)):
        return folder
    trial = f'{folder.rstrip("/")}_smoke'
    if args.work_dir:
        tell(f'{folder} holds a training, so the trial goes to {trial}')
    return trial


def read_config(args: argparse.Namespace) -> Config:
    """The file ``args.config`` with the changes of ``args.cfg_options``; options without effect are told.

    Raises:
        SystemExit: If the config cannot be read; the message names the line.
    """
    try:
        cfg = Config.fromfile(find_config(args.config))
    except Exception as error:  # a config is a program: it may raise anything
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == '<module>']
        place = f'{lines[-1].filename}, line {lines[-1].lineno}' if lines else args.config
        fail(f'the config cannot be read. {place}: {type(error).__name__}: {error}')
    options = option_values(args.cfg_options)
    cfg.merge_from_dict(options)
    for line in unread_options(cfg, options):
        tell(f'warning: {line}')
    return cfg
