"""Run a function in fresh processes joined by gloo, on CPU."""

import os
import tempfile
from datetime import timedelta

import fresh_process  # noqa: F401 - the server that forks them
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dino_plugin.commands.command_line import import_yapf


def run_in_processes(function, *arguments, processes: int = 2, start_method: str = 'forkserver') -> None:
    """``function(rank, *arguments)`` in each process; any failure is raised here.

    They run without the tests' type checker, which draws from Python's random numbers. With ``start_method='spawn'``
    each is a Python of its own, as a launcher starts it, so that they also disagree in the order of sets of strings.
    """
    with tempfile.TemporaryDirectory() as folder:  # they meet in a file: no port that another test might take
        meeting = f'file://{folder}/meeting'
        settings = (meeting, processes, dict(os.environ), function, arguments)
        mp.start_processes(_join, settings, nprocs=processes, start_method=start_method)


def _join(rank: int, meeting: str, processes: int, environment: dict[str, str], function, arguments) -> None:
    ranks = {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(processes)}
    os.environ |= environment | ranks
    np.random.seed()  # forked processes would draw the same numbers
    torch.set_num_threads(1)
    import_yapf()
    dist.init_process_group(
        'gloo', init_method=meeting, rank=rank, world_size=processes, timeout=timedelta(seconds=120)
    )
    function(rank, *arguments)
    dist.barrier()
    # Without taking the group down: in torch 2.6 gloo's threads and that may wait for each other for ever.
    os._exit(0)
