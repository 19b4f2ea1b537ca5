"""benchmark.py parts: each fast path beside the plain one, and wrong ones."""

import pytest
import torch
from test_benchmark import COMMANDS
from torch.nn import functional

from dino_plugin.backbones import timm_backbone
from dino_plugin.backbones.rotary_memory import RememberedPositions
from dino_plugin.benchmark import parts, switches
from dino_plugin.benchmark.arguments import COMPILED
from dino_plugin.benchmark.switch import Outcome, Switch, relative_gap, saved_for_backward
from dino_plugin.core.distillation import Network
from dino_plugin.core.losses import dino

TINY = COMMANDS['parts']
MEASURED = [name for name in switches.SWITCHES if name not in COMPILED]


def larger(function):
    """What it gives, by one in a hundred too large."""
    return lambda *arguments, **named: 1.01 * function(*arguments, **named)


def wrong_class_tokens(through_blocks):
    """Only where nothing but class tokens is wanted."""

    def run(model, views, patches, *rest):
        found = through_blocks(model, views, patches, *rest)
        return found if any(patches) else [tokens.flip(0) for tokens in found]

    return run


def wrong_together(through_blocks):
    """Only where there are two sizes."""

    def run(model, views, *rest):
        found = through_blocks(model, views, *rest)
        return found if len(views) == 1 else [found[0], found[1].flip(0)]

    return run


def wrong_without_gradients(forward):
    """Only under no_grad."""

    def run(*arguments, **named):
        found, rest = forward(*arguments, **named)
        return (found if torch.is_grad_enabled() else found._replace(class_token=-found.class_token)), rest

    return run


WRONG = {
    'class_token_only': (timm_backbone, 'through_blocks', wrong_class_tokens),
    'packed_views': (timm_backbone, 'through_blocks', wrong_together),
    'attention_fp32': (functional, 'scaled_dot_product_attention', larger),
    'loss_backward': (dino, 'cross_view_entropy', larger),
    'subset_drop_path': (switches.MultipliedDropPath, 'forward', larger),
    'remembered_positions': (RememberedPositions, '__call__', larger),
    'teacher_without_autograd': (Network, 'forward', wrong_without_gradients),
}


@pytest.mark.parametrize('name', MEASURED)
def test_a_fast_path_and_the_plain_one_compute_the_same(benchmark, name):
    status, found, _ = benchmark('parts', *TINY, '--only', name)
    assert status == 0 and found['checks'] == {name: True}, found['details']
    seconds = found['seconds']
    assert set(seconds) == {name, f'plain_{name}'}
    assert found['switches'] == {name: pytest.approx(seconds[f'plain_{name}'] / seconds[name])}
    assert not found['ratios'], 'these are those to the reference'


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_fast_path_is_noticed(benchmark, name, monkeypatch):
    owner, attribute, wrong = WRONG[name]
    monkeypatch.setattr(owner, attribute, wrong(getattr(owner, attribute)))
    status, found, printed = benchmark('parts', *TINY, '--only', name)
    assert status == 1 and found['checks'] == {name: False}
    assert f'NOT the same: {name}' in printed


def test_a_wrong_gradient_is_noticed_where_the_values_are_right(benchmark, monkeypatch):
    entropy = dino.cross_view_entropy

    def wrong(*arguments):
        loss = entropy(*arguments)
        return loss + 0.01 * (loss - loss.detach())

    monkeypatch.setattr(dino, 'cross_view_entropy', wrong)
    _, found, _ = benchmark('parts', *TINY, '--only', 'loss_backward')
    assert found['checks'] == {'loss_backward': False}


def test_a_gradient_that_is_not_a_number_is_noticed(benchmark, monkeypatch):
    outcomes = [Outcome([torch.ones(2)], [torch.tensor([1.0, last])]) for last in (1.0, torch.nan)]
    monkeypatch.setitem(
        parts.SWITCHES, 'loss_backward', lambda options: Switch(lambda: outcomes[0], lambda: outcomes[1], '', '')
    )
    _, found, _ = benchmark('parts', *TINY, '--only', 'loss_backward')
    assert found['checks'] == {'loss_backward': False}


@pytest.mark.parametrize('name', COMPILED)
def test_what_is_compiled_is_measured_only_where_it_is_asked_for(benchmark, monkeypatch, name):
    status, found, printed = benchmark('parts', *TINY, '--only', name)
    assert status == 0 and not found['seconds'] and not found['checks']
    assert f'{name}: not measured' in printed
    assert f'parts --only {name} --compile' in found['missing'][name]
    # Compiled for real it takes minutes.
    monkeypatch.setattr('dino_plugin.backbones.pre_norm_blocks._compiled', lambda function, mode: function)
    monkeypatch.setattr('dino_plugin.data.views.device_colour._compiled', lambda operation: operation)
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda *arguments, **options: None)
    _, found, _ = benchmark('parts', *TINY, '--only', name, '--compile')
    assert found['checks'] == {name: True} and not found['missing']


def test_of_parts_and_switches_those_are_measured_that_are_named(benchmark):
    _, found, _ = benchmark('parts', *TINY, '--only', 'remembered_positions', 'loss')
    assert set(found['checks']) == {'remembered_positions', 'loss'}
    assert set(found['switches']) == {'remembered_positions'}


def test_each_tensor_that_autograd_keeps_counts_once_and_weights_do_not():
    weights = torch.randn(100, requires_grad=True)

    def run():
        return Outcome([weights.exp().sin()])  # the result of exp is kept for both

    assert saved_for_backward(run)[1] == 400
    with torch.no_grad():
        assert saved_for_backward(run)[1] == 0


def test_a_gap_is_that_of_all_tensors_together():
    ones = [torch.ones(3), torch.ones(1)]
    assert relative_gap([torch.ones(3), torch.zeros(1)], ones) == pytest.approx(0.5)
    assert relative_gap([], []) == 0
    assert relative_gap(ones[:1], ones) == float('inf')
    assert relative_gap([torch.full((3,), torch.nan), torch.ones(1)], ones) != 0
