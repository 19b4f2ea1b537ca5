"""Timing in turn, the checkout beside ours, and the formula of operations."""

import sys

import numpy as np
import pytest
import timm
import torch
from fake_reference import write_reference
from PIL import Image

from dino_plugin.benchmark import harness
from dino_plugin.benchmark.flops import Recipe, counted_flops, forward_flops, head_flops, step_flops
from dino_plugin.benchmark.harness import Candidate, Comparison, Timing, measure, median
from dino_plugin.benchmark.pillow_views import mean_error
from dino_plugin.benchmark.reference import Reference
from dino_plugin.core.heads import DINOHead
from dino_plugin.data.multi_crop import MultiCrop

CPU = torch.device('cpu')


def test_a_ratio_is_the_median_of_the_ratios_within_rounds():
    """Not the ratio of medians: a slow moment of the machine falls on both candidates of its round."""
    slow, fast = [10.0, 200.0, 30.0], [1.0, 100.0, 10.0]
    timings = {name: [Timing(0.0, value) for value in values] for name, values in dict(slow=slow, fast=fast).items()}
    candidates = [Candidate('slow', print), Candidate('fast', print)]
    comparison = Comparison('two', 'call', baseline='slow', candidates=candidates, timings=timings)
    assert comparison.ratios('fast') == [10.0, 2.0, 3.0]
    assert median(comparison.ratios('fast')) == 3.0
    assert comparison.ratios('slow') == []


def test_seconds_are_those_of_one_unit():
    candidates = [Candidate('two', print, units=4)]
    comparison = Comparison('', 'image', clock='wall', candidates=candidates, timings={'two': [Timing(2.0, 1.0)]})
    assert comparison.seconds('two') == [0.5]
    assert comparison.seconds('two', 'cpu') == [0.25]


def test_candidates_take_turns_and_the_warm_up_is_not_counted():
    calls = []
    candidates = [
        Candidate(name, lambda number, name=name: calls.append((name, number)), prepare=lambda: calls.append('ready'))
        for name in 'abc'
    ]
    comparison = Comparison('three', 'call', candidates=candidates)
    steps = sum(1 for _ in measure(comparison, rounds=3, warm_up=1, device=CPU))
    assert steps == 12
    assert calls[::2] == ['ready'] * 12
    names = [name for name, _ in calls[1::2]]
    assert [''.join(names[start : start + 3]) for start in range(0, 12, 3)] == ['cab', 'abc', 'bca', 'cab']
    assert [number for _, number in calls[1::2]] == [0] * 6 + [1] * 3 + [2] * 3
    assert all(len(comparison.timings[name]) == 3 for name in 'abc')


def test_preparation_is_not_timed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(harness.time, 'perf_counter', lambda: now[0])
    monkeypatch.setattr(harness.time, 'process_time', lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    comparison = Comparison('', 'call', candidates=[Candidate('one', lambda _: spend(2), prepare=lambda: spend(50))])
    list(measure(comparison, rounds=2, warm_up=0, device=CPU))
    assert comparison.seconds('one') == [2.0, 2.0]


def test_the_reference_leaves_no_module_no_file_and_no_change_behind(tmp_path):
    folder = write_reference(tmp_path / 'dino')
    before, cuda = set(sys.modules), torch.Tensor.cuda
    reference = Reference(folder)
    main = reference.module('main_dino')
    assert main.utils is reference.module('utils')
    with reference.running_on('cpu'):
        assert torch.ones(1).cuda().device == CPU
        print('hidden')
    assert torch.Tensor.cuda is cuda
    assert main.dist is torch.distributed
    assert not {'utils', 'main_dino'} & (set(sys.modules) - before)
    assert str(folder) not in sys.path
    assert sorted(path.suffix for path in folder.iterdir()) == ['.py'] * 5


def test_two_checkouts_do_not_mix(tmp_path):
    paths = [write_reference(tmp_path / name, eval_knn=('NEAREST = True', f'NEAREST = {name!r}')) for name in 'ab']
    assert [Reference(path).module('eval_knn').NEAREST for path in paths] == ['a', 'b']


@pytest.mark.parametrize('size', [32, 96])
def test_the_formula_counts_what_pytorch_counts(size):
    network = timm.create_model('vit_tiny_patch16_224', num_classes=0, img_size=size, depth=3)
    head = DINOHead(192, prototypes=100)
    recipe = Recipe(dim=192, depth=3, prototypes=100)
    with counted_flops('cpu') as counted:
        network.forward_features(torch.randn(1, 3, size, size))
    assert counted.get_total_flops() == forward_flops(recipe, size)
    with counted_flops('cpu') as counted:
        head(torch.randn(1, 192))
    assert counted.get_total_flops() == head_flops(recipe)


def test_a_step_is_three_times_the_student_and_once_the_teacher():
    recipe = Recipe(dim=384, depth=12)
    views = [224] * 2 + [96] * 8
    student = sum(forward_flops(recipe, size) + head_flops(recipe) for size in views)
    teacher = 2 * (forward_flops(recipe, 224) + head_flops(recipe))
    assert step_flops(recipe) == 3 * student + teacher


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
