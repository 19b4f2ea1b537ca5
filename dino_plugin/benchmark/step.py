"""A whole training step: forward, loss, backward, clipping, optimiser, teacher."""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from rich.table import Table

from dino_plugin.benchmark.devices import say_missing_gpu
from dino_plugin.benchmark.flops import ATTAINABLE, step_flops
from dino_plugin.benchmark.harness import Candidate, Comparison, median
from dino_plugin.benchmark.networks import (
    OurStep,
    ReferenceStep,
    random_views,
    recipe_of,
)
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.benchmark.step_check import check_step
from dino_plugin.benchmark.step_profile import profile_step
from dino_plugin.benchmark.switch import saved_for_backward
from dino_plugin.core.views import ViewBatch

GPU_ROWS = ['step_gpu_small', 'step_gpu_base', 'memory_small', 'memory_base']


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Each network by itself."""
    models = options.model or (['small'] if options.device == 'cpu' else ['small', 'base'])
    if options.device == 'cpu' and not options.profile:
        say_missing_gpu(report, GPU_ROWS)
    for model in models:
        views = random_views(options, pinned=options.device == 'cuda')
        if options.profile:
            profile_step(report, model, options.profile, views)
        else:
            _run_model(options, report, reference, model, views)


def names_of(device: str, model: str) -> dict[str, dict]:
    """Arguments of :class:`OurStep` by name of candidate; on a CPU ViT-S is not named."""
    if device == 'cuda':
        return {
            f'step_gpu_{model}': dict(precision='bf16', compile_blocks=True),
            f'step_gpu_{model}_eager': dict(precision='bf16'),
        }
    suffix = '' if model == 'small' else f'_{model}'
    return {f'step_cpu_fp32{suffix}': dict(precision='fp32'), f'step_cpu_bf16{suffix}': dict(precision='bf16')}


def _run_model(
    options: argparse.Namespace, report: Report, reference: Reference | None, model: str, views: ViewBatch
) -> None:
    device, baseline, ways = options.device, f'reference_{model}', names_of(options.device, model)
    floats = check_step(report, reference, model, views, ways)
    memory: dict[str, int] = {}
    candidates = []
    if reference:
        note = 'its train_one_epoch, ' + ('fp16 autocast' if device == 'cuda' else 'fp32')
        build = partial(ReferenceStep, reference, options, model, device, drop_path=0.1, half=device == 'cuda')
        candidates.append(step_candidate(baseline, build, floats, note, options, memory))
    for name, arguments in ways.items():
        note = f'ours, {arguments["precision"]}{", blocks compiled" if arguments.get("compile_blocks") else ""}'
        build = partial(OurStep, options, model, device=device, **arguments)
        candidates.append(step_candidate(name, build, views, note, options, memory))
    group = report.compare(
        f'ViT-{model}/16, {options.batch} images of 2 x {options.global_size} + {options.num_local} x '
        f'{options.local_size}, {options.prototypes} prototypes, {device}',
        candidates, device, unit='image', clock='cpu' if device == 'cpu' else 'wall', baseline=baseline,
    )  # fmt: skip
    _add_rates(report, model, step_flops(recipe_of(options, model)), group, memory)
    if reference and device == 'cuda':
        report.add_ratio(f'memory_{model}', memory[baseline] / memory[f'step_gpu_{model}'])


def step_candidate(
    name: str, build: Callable[[], Callable], views: object, note: str, options: argparse.Namespace, memory: dict
) -> Candidate:
    """Build one side, and note what memory it needs by itself, however much the sides before it hold.

    On a GPU that is the peak of a step, on a CPU what autograd keeps of it for the backward pass.

    Args:
        name: Of the candidate.
        build: Makes the side.
        views: What each step is given.
        note: For the table.
        options: With the device and the batch.
        memory: Bytes by name of candidate; one entry is added.
    """
    if options.device == 'cpu':
        side = build()
        _, memory[name] = saved_for_backward(lambda: side(views))
        what = 'kept for the backward pass'
    else:
        before = torch.cuda.memory_allocated()
        side = build()
        for _ in range(2):  # compiles, makes the states of the optimiser and the gradients
            side(views)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        side(views)
        torch.cuda.synchronize()
        memory[name] = torch.cuda.max_memory_allocated() - before
        what = 'peak'
    note = f'{note}; {memory[name] / 2**30:.2f} GiB {what}'.removeprefix('; ')
    return Candidate(name, lambda _: side(views), note, options.batch)


def in_gib(name: str, memory: dict[str, int], device: str) -> dict[str, float]:
    """Memory of a candidate for the JSON, by what it is; empty where none was measured."""
    return {'kept_gib' if device == 'cpu' else 'peak_gib': memory[name] / 2**30} if name in memory else {}


def _add_rates(report: Report, model: str, flops: int, group: Comparison, memory: dict[str, int]) -> None:
    """Images a second, operations a second by the formula, and memory."""
    table = Table(title=f'ViT-{model}/16: {flops / 1e9:.1f} GFLOP an image', title_justify='left')
    for heading in ('candidate', 'images/s', 'TFLOP/s', f'share of {ATTAINABLE / 1e12:.0f} TFLOP/s'):
        table.add_column(heading)
    for name in group.timings:
        seconds = median(group.seconds(name))
        rate = flops / seconds
        report.extra.setdefault('rates', {})[name] = dict(
            images_per_second=1 / seconds,
            tflops=rate / 1e12,
            share_of_attainable=rate / ATTAINABLE,
            **in_gib(name, memory, report.options.device),
        )
        share = f'{rate / ATTAINABLE:.1%}' if report.options.device == 'cuda' else 'of a GPU'
        table.add_row(name, f'{1 / seconds:.4g}', f'{rate / 1e12:.3g}', share)
    report.tables.append(table)
