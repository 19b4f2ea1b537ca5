"""benchmark.py parts: each fast path beside the plain one, and wrong ones."""

import pytest
import torch
from test_benchmark import SMALL_NETWORK
from torch.nn import functional

from benchmark import fast_paths, parts
from benchmark.command_line import COMPILED
from benchmark.ways import Outcome, Ways, relative_gap, with_memory
from dino_plugin.backbones import timm_backbone
from dino_plugin.backbones.rotary_cache import CachedRotaryPositions
from dino_plugin.core.distillation import SelfDistillation

MEASURED = [name for name in parts.FAST_PATHS if name not in COMPILED]


def larger(function):
    """What it gives, by one in a hundred too large."""
    return lambda *arguments, **named: 1.01 * function(*arguments, **named)


def larger_loss_or_gradient(share_of_loss):
    """The loss, its gradient, or both, by one in a hundred too large."""

    def wrong(entropy):
        def run(*arguments):
            loss = entropy(*arguments)
            return loss + 0.01 * (loss - share_of_loss * loss.detach())

        return run

    return wrong


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


def twice(move):
    """The teacher moves two times."""
    return lambda *arguments: [move(*arguments) for _ in range(2)]


WRONG = [
    ('class_token_only', timm_backbone, 'through_blocks', wrong_class_tokens),
    ('packed_views', timm_backbone, 'through_blocks', wrong_together),
    ('attention_fp32', functional, 'scaled_dot_product_attention', larger),
    ('subset_drop_path', fast_paths.MultipliedDropPath, 'forward', larger),
    ('remembered_positions', CachedRotaryPositions, '__call__', larger),
    ('ema', SelfDistillation, 'update_teacher', twice),
    ('optimizer', torch.optim.AdamW, 'step', lambda step: lambda self: self.defaults['fused'] and step(self)),
    ('loss', parts, 'cross_view_entropy', larger_loss_or_gradient(0)),
    ('loss', parts, 'cross_view_entropy', larger_loss_or_gradient(1)),
]


@pytest.mark.parametrize('name', MEASURED)
def test_a_fast_path_and_the_plain_one_compute_the_same(benchmark, name):
    status, found, printed = benchmark('parts', *SMALL_NETWORK, '--only', name)
    assert status == 0 and found['checks'] == {name: True}, printed
    assert {name: list(rows) for name, rows in found['tables'].items()} == {name: ['plain', 'fast']}


@pytest.mark.parametrize(('name', 'owner', 'attribute', 'wrong'), WRONG)
def test_a_wrong_fast_path_is_noticed(benchmark, name, owner, attribute, wrong, monkeypatch):
    monkeypatch.setattr(owner, attribute, wrong(getattr(owner, attribute)))
    status, found, printed = benchmark('parts', *SMALL_NETWORK, '--only', name)
    assert status == 1 and found['checks'] == {name: False}
    assert f'NOT the same: {name}' in printed


def test_a_gradient_that_is_not_a_number_is_noticed(benchmark, monkeypatch):
    outcomes = [Outcome([torch.ones(2)], [torch.tensor([1.0, last])]) for last in (1.0, torch.nan)]
    ways = Ways({str(number): (lambda outcome=outcome: outcome, '') for number, outcome in enumerate(outcomes)})
    monkeypatch.setitem(parts.PARTS, 'loss', lambda options, reference: ways)
    _, found, _ = benchmark('parts', *SMALL_NETWORK, '--only', 'loss')
    assert found['checks'] == {'loss': False}


@pytest.mark.parametrize('name', COMPILED)
def test_what_is_compiled_is_measured_where_it_is_asked_for(benchmark, monkeypatch, name):
    # Compiled for real it takes minutes.
    monkeypatch.setattr('dino_plugin.backbones.pre_norm_blocks._compiled', lambda function, mode: function)
    monkeypatch.setattr('dino_plugin.data.views.device_colour._compiled', lambda operation: operation)
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda *arguments, **options: None)
    _, found, _ = benchmark('parts', *SMALL_NETWORK, '--only', name)
    assert found['checks'] == {name: True}


def test_each_tensor_that_autograd_keeps_counts_once_and_weights_do_not():
    weights = torch.randn(100, requires_grad=True)

    def run():
        return weights.exp().sin()  # the result of exp is kept for both

    assert with_memory(run, 'cpu')[1] == 400
    with torch.no_grad():
        assert with_memory(run, 'cpu')[1] == 0


def test_a_gap_is_that_of_all_tensors_together():
    ones = [torch.ones(3), torch.ones(1)]
    assert relative_gap([torch.ones(3), torch.zeros(1)], ones) == pytest.approx(0.5)
    assert relative_gap([], []) == 0
    assert relative_gap(ones[:1], ones) == float('inf')
    assert relative_gap([torch.full((3,), torch.nan), torch.ones(1)], ones) != 0
