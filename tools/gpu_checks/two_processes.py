"""Two processes on one device, joined by gloo, compared with one process that has the joint batch."""

import argparse
import json
import socket
from pathlib import Path

from mmengine.config import Config

from gpu_checks.findings import Findings
from gpu_checks.programs import finish, start_training
from gpu_checks.recipes import leave_configs_unformatted, recipe, size_of

STEPS = 5
ROUNDING = 1e-3  # of the loss, relative: sums in another order, carried on by Adam


def run(options: argparse.Namespace, findings: Findings) -> None:
    """DINO in fp32, without masks, which would be others for other batches."""
    leave_configs_unformatted()
    folder, batch = Path(options.folder), size_of(options).batch
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    # Both processes take the one device, hence LOCAL_RANK.
    joined = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE='2', LOCAL_RANK='0')
    programs = [
        start_training(
            _config(options, batch),
            folder / 'two',
            ['--launcher', 'pytorch'],
            joined | dict(RANK=str(rank)),
            f'rank_{rank}.txt',
        )
        for rank in (0, 1)
    ]
    programs.append(start_training(_config(options, 2 * batch), folder / 'one'))
    for program in programs:
        finish(program, findings)
    losses = [json.loads((folder / f'two/losses_{rank}.json').read_text()) for rank in (0, 1)]
    findings.check('losses', *compare(*losses, json.loads((folder / 'one/losses_0.json').read_text())))


def compare(first: list[float], second: list[float], joint: list[float]) -> tuple[bool, str]:
    """The mean of the two processes' losses is that of the joint batch, at each step."""
    gaps = [abs((a + b) / 2 - c) / abs(c) for a, b, c in zip(first, second, joint, strict=True)]
    own = max(abs(a - b) / abs(c) for a, b, c in zip(first, second, joint, strict=True))
    detail = f'{len(gaps)} steps, mean of two {max(gaps):.1e} from the joint batch (at most {ROUNDING:.0e})'
    return max(gaps) <= ROUNDING and own > 0, f'{detail}, {own:.1e} from each other'


def _config(options: argparse.Namespace, batch: int) -> Config:
    config = recipe('dino', options, 'fp32', 'worker')
    config.train_cfg.max_iters = STEPS
    config.env_cfg.dist_cfg.backend = 'gloo'
    config.train_dataloader.update(batch_size=batch, num_workers=0)
    config.custom_hooks = [*config.custom_hooks, dict(type='WriteLosses')]
    return config
