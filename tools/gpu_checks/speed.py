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
from gpu_checks.findings import Findings, NotRun
from gpu_checks.machine import missing_compiler
from gpu_checks.recipes import size_of

NETWORKS = dict(full=('small', 'base'), small=('tiny',))
PRECISIONS = dict(compiled='bf16', bf16='bf16', fp32='fp32')  # of the benchmark's candidates
ROUNDS = dict(full=5, small=1)
COMPILE_SECONDS = 45  # for less nothing is compiled: it could not be finished


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Each network in turn, eager first; with a checkout of the reference, beside it."""
    every = benchmark_step.WAYS[options.device]
    compiled = {way: given for way, given in every.items() if 'compile_blocks' in given}
    eager = {way: given for way, given in every.items() if way not in compiled}
    for ways in filter(None, (eager, compiled)):
        for network in NETWORKS[options.size]:
            name = f'ViT-{network}/16, {", ".join(ways)}'
            findings.attempt(name, partial(_measure, name, network, ways, options, findings))


def _measure(name: str, network: str, ways: dict, options: argparse.Namespace, findings: Findings) -> None:
    if 'compiled' in ways and (missing := missing_compiler(options.device)):
        raise NotRun(missing)
    if 'compiled' in ways and findings.seconds_left < COMPILE_SECONDS:
        raise NotRun('no time left')
    batch = size_of(options).speed_batch
    while True:
        try:
            found = _benchmark(network, batch, options, ways)
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            findings.leave_out(f'{name}, batch {batch}', 'out of memory; half of it is tried')
            batch //= 2
        _free()
    for passed in found['checks'].values():
        told = 'the reference' if options.reference else 'the formula, view by view'
        findings.check(name, passed, f'loss and gradients beside {told}, in fp32; loss in bf16')
    _free()
    flops = _flops_of_an_image(network, options)
    for way, row in found['tables']['step'].items():
        seconds, (times, *_) = row['seconds'][0], row['times']
        entry = dict(network=f'ViT-{network}/16', way=way, batch=batch, seconds=seconds, range=row['seconds'][1:])
        entry |= dict(times=times, beside_reference='reference' in found['tables']['step'], memory=row['memory'])
        if way in PRECISIONS:
            product = product_rate(options.device, PRECISIONS[way])
            rate = flops / seconds
            entry |= dict(teraflops=1e-12 * rate, product_teraflops=1e-12 * product, share_of_product=rate / product)
        findings.measure(f'{network} {way}', **entry)


def _benchmark(network: str, batch: int, options: argparse.Namespace, ways: dict) -> dict:
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
    printed = io.StringIO()
    with patch.dict(benchmark_step.WAYS, {options.device: ways}), contextlib.redirect_stdout(printed):
        command_line.main([str(argument) for argument in arguments])
    print(printed.getvalue(), flush=True)  # into the log of this part
    return json.loads(printed.getvalue().splitlines()[-1])


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _flops_of_an_image(network: str, options: argparse.Namespace, batch: int = 2) -> float:
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
