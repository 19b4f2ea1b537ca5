"""What the command lines of tools/train.py and tools/test.py share."""

import argparse
import importlib
import os
import time
from pathlib import Path
from pickle import UnpicklingError

from mmengine.config import Config, DictAction
from mmengine.device import get_device

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.checkpoint import use_safe_loading
from dino_plugin.config_files import find_config
from dino_plugin.core.reduce import join_processes_on_cpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that OpenMMLab's tools have everywhere."""
    parser.add_argument('config', help='a file, or a name below configs/ for one that ships with dino_plugin')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: ./work_dirs/<name of the config>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """The config with the command line's changes; files are read safely from here on."""
    use_safe_loading()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(find_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}'
    if args.launcher != 'none':
        import_yapf()
    if args.launcher == 'pytorch' and get_device() == 'cpu':
        # mmengine's own ways to join the processes and to wrap the model ask for a GPU.
        join_processes_on_cpu()
        cfg.setdefault('model_wrapper_cfg', dict(device_ids=None, broadcast_buffers=False))
        cfg.sync_bn = None  # PyTorch's has no CPU form
    return cfg


def import_yapf(attempts: int = 50) -> None:
    """Imports yapf, which mmengine writes configs with, while other processes of the same run do so too.

    At its first import on a machine yapf caches its grammar, and puts the file in place before all of it is written, so
    a process that starts at the same moment may read half of it.
    """
    for attempt in range(attempts):
        try:
            importlib.import_module('yapf')
            return
        except (EOFError, UnpicklingError):
            if attempt == attempts - 1:
                raise
            time.sleep(0.1)
