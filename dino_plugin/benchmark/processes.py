"""A training step in several processes at once, each with a batch of its own."""

import argparse
import os
import socket
import tempfile
from pathlib import Path

import torch
from mmengine.dist import init_dist
from mmengine.model import MMDistributedDataParallel
from torch import multiprocessing

from dino_plugin.benchmark.harness import Timing, time_call
from dino_plugin.benchmark.networks import OurStep, random_views
from dino_plugin.core.reduce import gather_over_ranks, join_processes_on_cpu


def time_in_processes(options: argparse.Namespace, processes: int) -> tuple[list[Timing], bool]:
    """Times of a step in the first process, round by round, and whether all processes end with the same weights.

    Over gloo on a CPU; over nccl on GPUs, one for each process.

    Args:
        options: Sizes; the batch is that of each process.
        processes: How many.
    """
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'result.pt'
        arguments = processes, port, options, result
        multiprocessing.start_processes(_run_rank, arguments, nprocs=processes, start_method='spawn')
        timings, same = torch.load(result, weights_only=True)
    return [Timing(*timing) for timing in timings], same


def _run_rank(rank: int, processes: int, port: int, options: argparse.Namespace, result: Path) -> None:
    os.environ |= dict(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR='localhost', MASTER_PORT=str(port)
    )
    torch.set_num_threads(options.threads)
    if options.device == 'cuda':
        init_dist('pytorch', backend='nccl')
    else:
        join_processes_on_cpu()
    torch.manual_seed(rank)
    step = OurStep(options, options.model, options.precision, options.device, compile_blocks=options.compile_blocks)
    device_ids = [rank] if options.device == 'cuda' else None
    step.model = MMDistributedDataParallel(step.model, device_ids=device_ids, broadcast_buffers=False)
    step.loop.model = step.model
    views, device = random_views(options), torch.device(options.device)
    timings = [time_call(lambda _: step(views), 0, device) for _ in range(options.warm_up + options.rounds)]
    student = step.model.module.distillation.student
    sums = gather_over_ranks(torch.stack([weight.detach().double().sum() for weight in student.parameters()])[None])
    if rank == 0:
        torch.save(([tuple(timing) for timing in timings[options.warm_up :]], bool((sums == sums[0]).all())), result)
