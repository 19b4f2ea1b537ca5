"""Trainings by ``tools/train.py``, as a user starts them: each in a process of its own, several at once."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from gpu_checks.findings import Findings
from gpu_checks.supervision import TOOLS

HOOKS = dict(imports=['gpu_checks.hooks'], allow_failed_imports=False)


class Program(NamedTuple):
    """A training that was started."""

    process: subprocess.Popen
    log: Path
    folder: Path


def start_training(
    config: Config,
    folder: Path,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    log: str = 'log.txt',
) -> Program:
    """Write the config into the folder and train by it there."""
    folder.mkdir(parents=True, exist_ok=True)
    config.custom_imports = HOOKS
    file = folder / f'{Path(log).stem}.py'
    config.dump(file)
    command = [sys.executable, str(TOOLS / 'train.py'), str(file), '--work-dir', str(folder), *arguments]
    with (folder / log).open('w') as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | dict(environment or {})
        )
    return Program(process, folder / log, folder)


def finish(program: Program, findings: Findings, status: int = 0) -> Path:
    """Wait for it.

    Returns:
        The folder of the training.

    Raises:
        RuntimeError: If it ended with another exit status than expected, or goes on when the time is over; with the
            end of its log.
    """
    try:
        found = program.process.wait(timeout=max(findings.seconds_left, 1.0))
    except subprocess.TimeoutExpired:
        found = 'still running'
    if found != status:
        told = f'{program.folder.name}: {found} instead of exit status {status}'
        raise RuntimeError('\n'.join([*program.log.read_text(errors='replace').splitlines()[-15:], told]))
    return program.folder
