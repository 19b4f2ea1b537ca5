"""Timing in turn, the checkout beside ours, and what is counted."""

import argparse
import sys

import numpy as np
import pytest
import timm
import torch
from fake_reference import write_reference
from PIL import Image

from benchmark import report
from benchmark.networks import OurStep, random_views
from benchmark.pillow_views import mean_error
from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from benchmark.step_profile import counted_flops, stage_shares
from dino_plugin.data.multi_crop import MultiCrop


@pytest.fixture
def clock(monkeypatch):
    """A clock that a candidate moves on by calling it with seconds."""
    now = [0.0]
    monkeypatch.setattr(report, 'CLOCKS', dict(cpu=lambda: now[0], wall=lambda: 2 * now[0]))

    def spend(seconds: float) -> None:
        now[0] += seconds

    return spend


def measured(candidates: list[Candidate], rounds: int, clock: str | None = None) -> dict[str, dict]:
    found = Report(argparse.Namespace(rounds=rounds))
    found.compare('all', 'All', 'call', candidates, clock)
    return found.tables['all']


def test_a_ratio_is_the_median_of_the_ratios_within_rounds(clock):
    """Not the ratio of medians: a slow moment of the machine falls on both candidates of its round."""
    slow, fast = [10.0, 200.0, 30.0], [1.0, 100.0, 10.0]
    candidates = [Candidate('slow', lambda n: clock(slow[n])), Candidate('fast', lambda n: clock(fast[n]))]
    rows = measured(candidates, rounds=3)
    assert rows['slow']['seconds'] == [30, 10, 200] and rows['fast']['seconds'] == [10, 1, 100]
    assert rows['fast']['times'] == [3, 2, 10]


def test_seconds_are_those_of_one_unit_by_the_clock_that_was_asked_for(clock):
    four = [Candidate('four', lambda _: clock(6), units=4)]
    assert measured(four, 1)['four']['seconds'][0] == 1.5
    assert measured(four, 1, 'wall')['four']['seconds'][0] == 3


def test_candidates_take_turns_and_the_warm_up_does_not_count(clock):
    calls = []

    def candidate(name: str) -> Candidate:
        def call(number: int) -> None:
            calls.append((name, number))
            clock(100 if len(calls) <= 3 else 2)

        return Candidate(name, call)

    rows = measured([candidate(name) for name in 'abc'], rounds=3)
    assert [''.join(name for name, _ in calls[start : start + 3]) for start in range(0, 12, 3)] == [
        'cab',
        'abc',
        'bca',
        'cab',
    ]
    assert [number for _, number in calls] == [0] * 6 + [1] * 3 + [2] * 3
    assert all(row['seconds'] == [2, 2, 2] for row in rows.values())


def test_the_reference_leaves_no_module_no_file_and_no_change_behind(tmp_path):
    folder = write_reference(tmp_path / 'dino')
    before, cuda = set(sys.modules), torch.Tensor.cuda
    reference = Reference(folder)
    assert reference.main_dino.utils is reference.utils
    with reference.running_on('cpu'):
        assert torch.ones(1).cuda().device.type == 'cpu'
        print('hidden')
    assert torch.Tensor.cuda is cuda
    assert reference.main_dino.dist is torch.distributed
    assert not {'utils', 'main_dino'} & (set(sys.modules) - before)
    assert str(folder) not in sys.path
    assert sorted(path.suffix for path in folder.iterdir()) == ['.py'] * 5


def test_two_checkouts_do_not_mix(tmp_path):
    paths = [write_reference(tmp_path / name, eval_knn=('NEAREST = True', f'NEAREST = {name!r}')) for name in 'ab']
    assert [Reference(path).eval_knn.NEAREST for path in paths] == ['a', 'b']


@pytest.mark.parametrize('size', [32, 96])
def test_the_operations_of_attention_are_counted(size):
    """depth * (24 dim^2 N + 4 N^2 dim) + 2 (N - 1) * 3 patch^2 * dim        for N tokens"""
    network = timm.create_model('vit_tiny_patch16_224', num_classes=0, img_size=size, depth=3)
    patches = (size // 16) ** 2
    tokens = patches + 1
    expected = 3 * (24 * 192**2 * tokens + 4 * tokens**2 * 192) + 2 * patches * 3 * 16**2 * 192
    assert counted_flops(lambda: network.forward_features(torch.randn(1, 3, size, size)), 'cpu') == expected


def test_a_step_whose_stages_are_timed_trains_as_any_other_and_leaves_nothing_behind():
    torch.manual_seed(0)
    sizes = dict(batch=1, global_size=32, local_size=16, num_local=1, prototypes=16)
    options = argparse.Namespace(**sizes, model='tiny', device='cpu')
    plain, watched = (OurStep(options, 'bf16', drop_path=0.0) for _ in range(2))
    watched.model.load_state_dict(plain.model.state_dict())
    views = random_views(options)
    before = {name: set(vars(module)) for name, module in watched.model.named_modules()}
    plain(views)
    stage_shares(watched, views, 'cpu')
    for found, expected in zip(watched.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected)
    assert before == {name: set(vars(module)) for name, module in watched.model.named_modules()}
    assert 'step' not in vars(watched.optim_wrapper) and 'update_teacher' not in vars(watched.model.distillation)


def test_a_view_with_other_parameters_is_far_from_pillows():
    """So the comparison with Pillow can fail."""
    image = np.array(Image.radial_gradient('L').convert('RGB'))
    crop = MultiCrop(global_size=48, num_local=0)
    drawn = list(crop.draw(*image.shape[:2]))
    crop.draw = lambda *_: iter(drawn)
    views = list(crop.blocks(image)[0].numpy())
    assert max(mean_error(image, drawn, views)) < 2
    elsewhere = [view._replace(box=view.box._replace(top=0, rows=64)) for view in drawn]
    assert min(mean_error(image, elsewhere, views)) > 2
