"""Where the time of a training step goes, and how far it is from what the processor can multiply."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from statistics import median
from unittest.mock import patch

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from benchmark.networks import OurStep
from benchmark.report import Candidate, Report, time_call
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.precision import PRECISIONS

GEMM_SIZE = dict(cpu=2048, cuda=8192)  # rows and columns of matrices whose product is as fast as any


def profile_step(report: Report, precision: str, views: ViewBatch) -> None:
    """Shares of the step's stages, PyTorch's own table of operations, and the step beside one large product."""
    options, device = report.options, report.device
    step = OurStep(options, precision)
    for _ in range(2):  # makes the states of the optimiser
        step(views)
    rounds = [stage_shares(step, views, device) for _ in range(options.rounds)]
    report.tables['stages'] = {
        name: dict(share=median(shares), range=[min(shares), max(shares)])
        for name, shares in ((name, [shares[name] for shares in rounds]) for name in rounds[0])
    }
    for name, row in report.tables['stages'].items():
        report.say(f'{name}: {row["share"]:.1%} of the step ({row["range"][0]:.1%} - {row["range"][1]:.1%})')
    with profile() as found:
        step(views)
    report.say(found.key_averages().table(f'self_{"cpu" if device == "cpu" else "device"}_time_total', row_limit=15))
    _compare_with_product(report, step, views, counted_flops(lambda: step(views), device), precision)


def stage_shares(step: OurStep, views: ViewBatch, device: str) -> dict[str, float]:
    """Of one step's time; of stages within stages the innermost counts, and what none of them takes is the rest."""
    clock = 'cpu' if device == 'cpu' else 'wall'
    seconds: dict[str, float] = defaultdict(float)
    running: list[str] = []

    def timed(function: Callable, stage: str) -> Callable:
        def run(*arguments: object, **named: object) -> object:
            results = []
            running.append(stage)
            taken = time_call(lambda _: results.append(function(*arguments, **named)), 0, clock, device)
            running.pop()
            seconds[stage] += taken
            if running:
                seconds[running[-1]] -= taken
            return results[0]

        return run

    with ExitStack() as changes:
        for owner, method, stage in _stages(step):
            changes.enter_context(patch.object(owner, method, timed(getattr(owner, method), stage)))
        timed(step, 'rest')(views)
    return {name: value / sum(seconds.values()) for name, value in seconds.items()}


def _stages(step: OurStep) -> Iterator[tuple[object, str, str]]:
    """Owner and name of a method, and the stage that it is."""
    distillation, wrapper = step.model.distillation, step.optim_wrapper
    student, teacher = distillation.student, distillation.teacher
    yield step.model.data_preprocessor, 'forward', 'normalising views'
    yield student, 'forward', 'student, forward'
    yield teacher, 'forward', 'teacher'
    for name in student.heads:
        yield student.heads[name], 'forward', 'head, forward'
        yield teacher.heads[name], 'forward', 'teacher'
    for loss in distillation.losses.values():
        yield loss, 'forward', 'loss'
    yield wrapper, 'backward', 'backward'
    yield wrapper, 'step', 'clipping'
    yield wrapper.optimizer, 'step', 'optimiser'
    yield distillation, 'update_teacher', 'EMA'


def counted_flops(run: Callable[[], object], device: str) -> int:
    """Operations that PyTorch counts; a multiplication and an addition are two.

    On a CPU attention is written out meanwhile, as the products that it consists of: PyTorch's counter has no formula
    for the fused operation there (seen in 2.6 and 2.14) and would leave it out without a word.
    """
    written_out = sdpa_kernel(SDPBackend.MATH) if device == 'cpu' else nullcontext()
    with written_out, FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _compare_with_product(report: Report, step: OurStep, views: ViewBatch, flops: int, precision: str) -> None:
    """In turns; how many times as fast is the share of the processor's peak at which the step runs."""
    size, dtype = GEMM_SIZE[report.device], PRECISIONS[precision] or torch.float32
    left, right = torch.randn(2, size, size, device=report.device).to(dtype)
    product = torch.empty_like(left)
    candidates = [
        Candidate('product', lambda _: torch.mm(left, right, out=product), f'{size} x {size}, {dtype}', 2e-9 * size**3),
        Candidate('step', lambda _: step(views), f'the whole step: {flops / 1e9:.4g} GFLOP', flops / 1e9),
    ]
    report.compare('limit', 'The step beside one large product of matrices', 'GFLOP', candidates)
