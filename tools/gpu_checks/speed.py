"""How fast a step is, and how much memory it takes: ``tools/benchmark.py step``, and what the device can multiply."""

import argparse
import contextlib
import gc
import io
import json
from functools import cache, partial
from types import SimpleNamespace
from unittest.mock import patch

import torch

from benchmark import command_line
from benchmark import step as benchmark_step
from benchmark.networks import OurStep, random_views
from benchmark.report import time_call
from benchmark.step_profile import GEMM_SIZE, counted_flops
from gpu_checks.findings import Findings
from gpu_checks.machine import missing_compiler
from gpu_checks.recipes import size_of

NETWORKS = dict(full=('small', 'base'), small=('tiny',))
PRECISIONS = dict(compiled='bf16', bf16='bf16', fp32='fp32')  # of the benchmark's candidates
ROUNDS = dict(full=5, small=1)


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Each network in turn; with a checkout of the reference, beside it."""
    for network in NETWORKS[options.size]:
        findings.attempt(f'ViT-{network}/16', partial(_measure, network, options, findings))


def _measure(network: str, options: argparse.Namespace, findings: Findings) -> None:
    missing = missing_compiler(options.device)
    if missing and options.device == 'cuda':
        findings.leave_out(f'ViT-{network}/16, compiled', missing)
    batch = size_of(options).speed_batch
    while True:
        try:
            found = _benchmark(network, batch, options, without='compiled' if missing else '')
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            findings.leave_out(f'ViT-{network}/16, batch {batch}', 'out of memory; half of it is tried')
            batch //= 2
        gc.collect()
        torch.cuda.empty_cache()
    for name, passed in found['checks'].items():
        findings.check(f'ViT-{network}/16: {name}', passed, 'losses, and gradients where a reference is given')
    flops = _flops_of_an_image(network, batch, options)
    for way, row in found['tables']['step'].items():
        seconds, (times, *_) = row['seconds'][0], row['times']
        entry = dict(network=f'ViT-{network}/16', way=way, batch=batch, seconds=seconds, range=row['seconds'][1:])
        entry |= dict(times=times, beside_reference='reference' in found['tables']['step'], memory=row['memory'])
        if way in PRECISIONS:
            product = product_rate(options.device, PRECISIONS[way])
            rate = flops / seconds
            entry |= dict(teraflops=1e-12 * rate, product_teraflops=1e-12 * product, share_of_product=rate / product)
        findings.measure(f'{network} {way}', **entry)


def _benchmark(network: str, batch: int, options: argparse.Namespace, without: str) -> dict:
    """The JSON of ``tools/benchmark.py step``."""
    size = size_of(options)
    arguments = [
        'step',
        '--device',
        options.device,
        '--model',
        network,
        '--batch',
        batch,
        '--rounds',
        ROUNDS[options.size],
    ]
    arguments += ['--global-size', size.global_size, '--local-size', size.local_size, '--num-local', size.num_local]
    arguments += ['--prototypes', _prototypes(options)]
    arguments += ['--reference', options.reference] if options.reference else []
    ways = {way: given for way, given in benchmark_step.WAYS[options.device].items() if way != without}
    printed = io.StringIO()
    with patch.dict(benchmark_step.WAYS, {options.device: ways}), contextlib.redirect_stdout(printed):
        command_line.main([str(argument) for argument in arguments])
    print(printed.getvalue(), flush=True)  # into the log of this part
    return json.loads(printed.getvalue().splitlines()[-1])


def _flops_of_an_image(network: str, batch: int, options: argparse.Namespace) -> float:
    size = size_of(options)
    sizes = SimpleNamespace(
        model=network, batch=batch, device=options.device, prototypes=_prototypes(options),
        global_size=size.global_size, local_size=size.local_size, num_local=size.num_local,
    )  # fmt: skip
    step, views = OurStep(sizes, 'bf16'), random_views(sizes)
    return counted_flops(lambda: step(views), options.device) / batch


@cache
def product_rate(device: str, precision: str) -> float:
    """Operations a second of one large product of matrices, the best of six: no step can be faster."""
    size, dtype = GEMM_SIZE[device], dict(bf16=torch.bfloat16, fp32=torch.float32)[precision]
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    product = torch.empty_like(left)
    run = partial(torch.mm, left, right, out=product)
    clock = 'cpu' if device == 'cpu' else 'wall'
    return 2 * size**3 / min(time_call(lambda _: run(), 0, clock, device) for _ in range(6))


def _prototypes(options: argparse.Namespace) -> int:
    return size_of(options).head.get('prototypes', 65536)
