"""benchmark.py step --profile: what the time is spent on."""

import argparse

import pytest
import torch
from test_benchmark import COMMANDS
from torch.autograd.profiler_util import FunctionEvent

from dino_plugin.benchmark.networks import OurStep, random_views
from dino_plugin.benchmark.step_profile import BACKWARD, ROWS, STAGE, profiled, shares_of

SIZES = argparse.Namespace(batch=1, global_size=32, local_size=16, num_local=1, prototypes=16)
TRAINED = {*(row for row in ROWS if row.startswith('student')), 'head'}


def test_the_parts_of_a_step_make_up_the_whole(benchmark, monkeypatch):
    monkeypatch.setattr('dino_plugin.benchmark.step_profile.GEMM_SIZE', dict(cpu=64))
    status, found, printed = benchmark('step', *COMMANDS['step'], '--profile', 'fp32')
    name = 'step_tiny_fp32'
    parts = found['step_profile'][name]
    assert status == 0 and list(parts) == ROWS
    assert sum(part['share'] for part in parts.values()) == pytest.approx(1)
    for row, part in parts.items():
        assert part['share'] == pytest.approx(part['forward'] + part['backward'])
        assert part['forward'] > 0
        assert (part['backward'] > 0) == (row in {*TRAINED, 'loss', 'rest'}), row
    assert f'Where the time of {name} goes' in printed
    seconds = found['seconds']
    assert found['share_of_peak'] == {name: pytest.approx(seconds['product'] / seconds[name])}
    assert not found['ratios'] and not found['missing']


def test_time_counts_where_it_is_spent_and_a_gradient_where_its_operation_was():
    """A step of 100 microseconds by hand: start, end, name, number of the operation, what it is a part of."""
    step = [
        (0, 100, STAGE + 'rest', -1, None),
        (5, 35, STAGE + 'student', -1, 0),
        (10, 30, 'aten::linear', 7, 1),
        (10, 25, 'aten::addmm', 7, 2),
        (20, 25, 'aten::copy_', 7, 3),
        (40, 50, STAGE + 'head', -1, 0),
        (41, 47, 'aten::addmm', 8, 5),
        (60, 70, BACKWARD + ': AddmmBackward0', 8, 0),
        (61, 69, 'aten::mm', -1, 7),
        (70, 90, BACKWARD + ': AddmmBackward0', 7, 0),
        (71, 87, 'aten::mm', -1, 9),
        (90, 92, BACKWARD + ': torch::autograd::AccumulateGrad', -1, 0),
    ]
    events = []
    for number, (start, end, name, sequence, parent) in enumerate(step):
        events.append(FunctionEvent(number, name, 0, start, end, sequence_nr=sequence))
        if parent is not None:
            events[parent].append_cpu_child(events[-1])
            events[-1].set_cpu_parent(events[parent])
    shares = {place: share for place, share in shares_of(events, 'cpu').items() if share}
    assert shares == pytest.approx(
        {
            ('student: matrix products', 'forward'): 0.15,
            ('student: other', 'forward'): 0.15,
            ('head', 'forward'): 0.10,
            ('head', 'backward'): 0.10,
            ('student: matrix products', 'backward'): 0.16,
            ('student: other', 'backward'): 0.04,
            ('rest', 'forward'): 0.28,
            ('rest', 'backward'): 0.02,
        }
    )


def test_a_profiled_step_trains_as_any_other_and_leaves_nothing_behind():
    torch.manual_seed(0)
    plain, watched = (OurStep(SIZES, 'tiny', 'bf16', 'cpu', drop_path=0.0) for _ in range(2))
    watched.model.load_state_dict(plain.model.state_dict())
    views = random_views(SIZES)
    before = {name: set(vars(module)) for name, module in watched.model.named_modules()}
    plain(views)
    shares = shares_of(profiled(watched, views), 'cpu')
    assert all(shares['student: attention', direction] > 0 for direction in ('forward', 'backward')), 'written out'
    for found, expected in zip(watched.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected)
    assert before == {name: set(vars(module)) for name, module in watched.model.named_modules()}
    assert 'step' not in vars(watched.optim_wrapper) and 'update_teacher' not in vars(watched.model.distillation)
