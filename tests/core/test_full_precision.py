"""Half precision is computed in float32, float64 in float64: finite differences see rounding errors of float32."""

import pytest
import torch
from torch.autograd import gradcheck

from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses.dino import cross_view_entropy
from dino_plugin.core.losses.gram import gram_difference, to_grid
from dino_plugin.core.losses.ibot import masked_patch_entropy
from dino_plugin.core.losses.koleo import koleo
from dino_plugin.core.precision import full_precision
from dino_plugin.core.targets import Centering, SinkhornKnopp


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


FUNCTIONS = {
    'dino': lambda x: cross_view_entropy(x, random(2, 4, 6).softmax(-1), 0.1),
    'ibot': lambda x: masked_patch_entropy(x[0], random(4, 6).softmax(-1), torch.tensor([0, 0, 2, 2]), 3, 0.1),
    'koleo': lambda x: koleo(x.flatten(0, 1)),
    'gram': lambda x: gram_difference(x, random(3, 4, 6).flip(0)),
    'grid': lambda x: to_grid(x.unflatten(1, (2, 2))[None], 5, 3).square().sum(),
    'head': lambda x: DINOHead(6, 8, 10, 4).double()(x).square().sum(),
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_in_float64_finite_differences_are_the_gradient(name):
    def function(x):
        torch.manual_seed(0)
        return FUNCTIONS[name](x)

    x = random(3, 4, 6).requires_grad_()
    assert function(x).dtype == torch.float64
    assert gradcheck(function, (x,), eps=1e-6, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize('target', [Centering(6), SinkhornKnopp()])
def test_targets_in_float64_sum_to_one_more_exactly_than_float32_can(target):
    target = target.double()
    for _ in range(2):
        probabilities = target(random(50, 6), 0.04)
    assert (probabilities.sum(-1) - 1).abs().max() < 1e-14
    scores = random(50, 6)
    assert not torch.equal(target(scores, 0.04), target(scores.float(), 0.04).double())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_what_is_smaller_is_computed_in_float32(dtype):
    x = random(3, 4, 6).to(dtype)
    assert full_precision(x).dtype == torch.float32
    assert torch.equal(full_precision(x), x.float())
    for name in ('dino', 'koleo', 'gram'):
        assert FUNCTIONS[name](x.double()) == pytest.approx(FUNCTIONS[name](x).item(), rel=1e-5), name
    assert Centering(6)(x, 0.04).dtype == SinkhornKnopp()(x, 0.04).dtype == torch.float32
