"""A training that is killed after a checkpoint and resumed, compared with unbroken ones."""

import argparse
import signal
from pathlib import Path

import torch
from mmengine.config import Config

from benchmark.ways import relative_gap
from dino_plugin.weights.safe_loading import load_checkpoint
from gpu_checks.findings import Findings
from gpu_checks.programs import finish, start_training
from gpu_checks.recipes import leave_configs_unformatted, recipe

STEPS, SAVED, KILLED = 12, 4, 9  # so it goes on from step 8
MARGIN = 10.0  # times what two unbroken runs differ by


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Where a device repeats itself bit for bit, so must the resumed run; elsewhere it may differ as unbroken ones do.

    PyTorch's deterministic algorithms are not switched on: for the resizing of positions, bicubic, it has none on GPUs
    and would refuse to train.
    """
    leave_configs_unformatted()
    folder = Path(options.folder)
    first, second = (start_training(_config(options), folder / name) for name in ('first', 'second'))
    killed = start_training(_config(options, killed=True), folder / 'resumed')
    finish(killed, findings, -signal.SIGKILL)
    last = (folder / 'resumed/last_checkpoint').read_text().strip()
    findings.check(
        'killed', last.endswith(f'iter_{KILLED // SAVED * SAVED}.pth'), f'last_checkpoint is {Path(last).name}'
    )
    resumed = start_training(_config(options), folder / 'resumed', ['--resume'], log='resumed.txt')
    states = [_final(finish(program, findings)) for program in (first, second, resumed)]
    findings.check('resumed', *compare(*states))


def compare(first: dict, second: dict, resumed: dict) -> tuple[bool, str]:
    """Whether the resumed run is as near to the first as a second unbroken one, and in words how near."""
    if not first.keys() == second.keys() == resumed.keys():
        return False, 'the checkpoints hold other tensors'
    own, gap = (_gap(state, first) for state in (second, resumed))
    if own is None:
        same = 'bit for bit' if gap is None else f'{gap:.1e} apart'
        return gap is None, f'unbroken runs repeat themselves bit for bit; resumed and unbroken: {same}'
    found = 'bit for bit' if gap is None else f'{gap:.1e} apart'
    return (gap or 0.0) <= MARGIN * own, f'two unbroken runs are {own:.1e} apart; resumed and unbroken: {found}'


def _gap(state: dict, other: dict) -> float | None:
    """Relative; None if all bits are the same."""
    if all(torch.equal(state[name], other[name]) for name in other):
        return None
    floats = [name for name, value in other.items() if value.is_floating_point()]
    return relative_gap([state[name] for name in floats], [other[name] for name in floats])


def _final(folder: Path) -> dict:
    return load_checkpoint(str(folder / f'iter_{STEPS}.pth'))['state_dict']


def _config(options: argparse.Namespace, killed: bool = False) -> Config:
    """As shipped, with random depth; PyTorch's search for the fastest convolution would choose by chance."""
    config = recipe('dino', options, chance=True)
    config.train_cfg.max_iters = STEPS
    config.env_cfg.cudnn_benchmark = False
    config.train_dataloader.num_workers = 0
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=SAVED)
    if killed:
        config.custom_hooks = [*config.custom_hooks, dict(type='KillItself', after=KILLED)]
    return config
