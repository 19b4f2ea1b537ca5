"""Where the time of a training step goes, and how far it is from what the processor can multiply."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from rich.table import Table
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import profile, record_function

from dino_plugin.benchmark.flops import counted_flops, step_flops
from dino_plugin.benchmark.harness import Candidate, median
from dino_plugin.benchmark.networks import OurStep, recipe_of
from dino_plugin.benchmark.report import Report
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.precision import PRECISIONS

STAGE, BACKWARD = 'stage: ', 'autograd::engine::evaluate_function'
# Work of the student's backbone, by what the names of PyTorch's operations contain.
KINDS = {
    'attention': ('scaled_dot_product', 'aten::bmm', 'aten::baddbmm', 'aten::_softmax'),
    'patches': ('convolution',),
    'matrix products': ('aten::addmm', 'aten::mm'),
    'norms': ('layer_norm',),
    'activations': ('gelu',),
}
OTHER = 'other'  # residual sums, copies, positions resized, gradients of biases; the profiler's own work
ROWS = [
    *(f'student: {kind}' for kind in (*KINDS, OTHER)),
    'head', 'loss', 'teacher', 'clipping', 'optimiser', 'EMA', 'normalising views', 'rest',
]  # fmt: skip
GEMM_SIZE = dict(cpu=2048, cuda=8192)  # rows and columns of matrices whose product is as fast as any


def profile_step(report: Report, model: str, precision: str, views: ViewBatch) -> None:
    """Shares of the step, round by round, then operations a second beside those of one large product of matrices.

    Args:
        report: Takes the tables.
        model: Its name.
        precision: Of the step and of the product.
        views: As bytes.
    """
    options, name = report.options, f'step_{model}_{precision}'
    step = OurStep(options, model, precision, options.device)
    for _ in range(options.warm_up + 1):  # makes the states of the optimiser
        step(views)
    rounds = [shares_of(profiled(step, views), options.device) for _ in range(options.rounds)]
    report.extra.setdefault('step_profile', {})[name] = _summary(rounds)
    report.tables.append(_table(name, rounds))
    with counted_flops(options.device) as counter:
        step(views)
    _compare_with_product(report, name, step, views, counter.get_total_flops(), precision)
    formula = options.batch * step_flops(recipe_of(options, model))
    report.say(f'{name}: {counter.get_total_flops() / 1e9:.4g} GFLOP a step, {formula / 1e9:.4g} by the formula.')


def profiled(step: OurStep, views: ViewBatch) -> list[FunctionEvent]:
    """All operations of one step, its stages among them."""
    with _stages(step), profile(acc_events=True) as found, record_function(STAGE + 'rest'):
        step(views)
    return list(found.events())


def shares_of(events: Iterable[FunctionEvent], device: str) -> dict[tuple[str, str], float]:
    """Of the step's time, by row and direction, 'forward' or 'backward'; they sum to 1.

    An operation of the backward pass belongs to the stage of the one whose gradient it computes. Time is that which the
    host spends in an operation itself, on a GPU that of its kernels there, so that a GPU's idle time is not counted.
    """
    events = sorted((event for event in events if event.device_type == DeviceType.CPU), key=_start)
    stages = {
        event.sequence_nr: _place(event, {})[0] for event in events if event.sequence_nr >= 0 and _is_forward(event)
    }
    seconds: Counter[tuple[str, str]] = Counter()
    for event in events:
        stage, direction = _place(event, stages)
        row = f'student: {_kind(event)}' if stage == 'student' else stage
        seconds[row, direction] += event.self_cpu_time_total if device == 'cpu' else event.self_device_time_total
    return {place: value / seconds.total() for place, value in seconds.items()}


def _start(event: FunctionEvent) -> float:
    return event.time_range.start


def _above(event: FunctionEvent | None) -> Iterator[FunctionEvent]:
    """The operation itself, then those that it is a part of."""
    while event is not None:
        yield event
        event = event.cpu_parent


def _is_forward(event: FunctionEvent) -> bool:
    return not any(part.name.startswith(BACKWARD) for part in _above(event))


def _place(event: FunctionEvent, stages: dict[int, str]) -> tuple[str, str]:
    """Stage and direction."""
    for part in _above(event):
        if part.name.startswith(BACKWARD):
            return stages.get(part.sequence_nr, 'rest'), 'backward'
        if part.name.startswith(STAGE):
            return part.name.removeprefix(STAGE), 'forward'
    return 'rest', 'forward'


def _kind(event: FunctionEvent) -> str:
    """Of the innermost operation that has one."""
    for part in _above(event):
        for kind, names in KINDS.items():
            if part.name.startswith(('aten::', 'mkldnn::')) and any(name in part.name for name in names):
                return kind
    return OTHER


@contextmanager
def _stages(step: OurStep) -> Iterator[None]:
    """Names what runs, for the profiler; of stages within stages the innermost counts."""
    distillation, wrapper = step.model.distillation, step.optim_wrapper
    student, teacher = distillation.student, distillation.teacher
    methods = [
        (step.model.data_preprocessor, 'forward', 'normalising views'),
        (student, 'forward', 'student'),
        (teacher, 'forward', 'teacher'),
        *((loss, 'forward', 'loss') for loss in distillation.losses.values()),
        *((head, 'forward', 'head') for head in student.heads.values()),
        *((head, 'forward', 'teacher') for head in teacher.heads.values()),
        (wrapper, 'step', 'clipping'),
        (wrapper.optimizer, 'step', 'optimiser'),
        (distillation, 'update_teacher', 'EMA'),
    ]
    with ExitStack() as changes:
        for owner, method, stage in methods:
            changes.enter_context(patch.object(owner, method, _named(getattr(owner, method), stage)))
        yield


def _named(function: Callable, stage: str) -> Callable:
    def run(*arguments: Any, **named_arguments: Any) -> Any:
        with record_function(STAGE + stage):
            return function(*arguments, **named_arguments)

    return run


def _shares_of_row(rounds: Sequence[dict], row: str, *directions: str) -> list[float]:
    return [sum(shares.get((row, direction), 0.0) for direction in directions) for shares in rounds]


def _summary(rounds: Sequence[dict]) -> dict[str, dict]:
    """For the JSON: of each row the median share, that of each direction, and the least and the most of all rounds."""
    summary = {}
    for row in ROWS:
        both = _shares_of_row(rounds, row, 'forward', 'backward')
        parts = {direction: median(_shares_of_row(rounds, row, direction)) for direction in ('forward', 'backward')}
        summary[row] = dict(share=median(both), range=[min(both), max(both)], **parts)
    return summary


def _table(name: str, rounds: Sequence[dict]) -> Table:
    table = Table(title=f'Where the time of {name} goes: shares of the whole', title_justify='left')
    for heading in ('part', 'share', 'range', 'forward', 'backward'):
        table.add_column(heading)
    for row, found in _summary(rounds).items():
        least, most = found['range']
        backward = f'{found["backward"]:.1%}' if found['backward'] else ''
        table.add_row(row, f'{found["share"]:.1%}', f'{least:.1%} - {most:.1%}', f'{found["forward"]:.1%}', backward)
    return table


def _compare_with_product(
    report: Report, name: str, step: OurStep, views: ViewBatch, flops: int, precision: str
) -> None:
    """In turns; the ratio is the share of the processor's peak at which the step runs."""
    device = report.options.device
    size, dtype = GEMM_SIZE[device], PRECISIONS[precision] or torch.float32
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    product = torch.empty_like(left)
    candidates = [
        Candidate('product', lambda _: torch.mm(left, right, out=product), f'{size} x {size}, {dtype}', 2e-9 * size**3),
        Candidate(name, lambda _: step(views), 'the whole step, what it computes only', flops / 1e9),
    ]
    report.compare(
        'The step beside one large product of matrices', candidates, device, unit='GFLOP',
        clock='cpu' if device == 'cpu' else 'wall', baseline='product', section='share_of_peak',
    )  # fmt: skip
