"""Global and local views, sent through the blocks at once."""

import copy
from collections import Counter

import pytest
import torch
from networks import randomised
from test_class_token_only import KINDS, make
from timm.layers import DropPath

from dino_plugin.backbones.stochastic_depth import SubsetDropPath, use_subset_drop_path
from dino_plugin.core.views import ClassTokenOnly, ViewBatch

WANTED = [(True, True), (True, False), (False, False)]
CHECKPOINTING = {'gradient_checkpointing': True}


def views_of(masks=False):
    generator = torch.Generator().manual_seed(3)
    views = ViewBatch(
        *(torch.randn(shape, generator=generator).double() for shape in ((2, 3, 3, 32, 40), (4, 3, 3, 16, 24)))
    )
    return views.with_masks(torch.rand(2, 3, 4, 5, generator=generator) < 0.5) if masks else views


def outcome(backbone, views, wanted):
    """All tokens that are wanted, and what flows from random directions of them into each parameter."""
    backbone.zero_grad()
    found = []
    for tokens, patches in zip(backbone.forward_together(views, *wanted), wanted, strict=True):
        assert isinstance(tokens, ClassTokenOnly) != patches
        found += [tokens.class_token, tokens.patches] if patches else [tokens.class_token]
    generator = torch.Generator().manual_seed(4)
    sum((x * torch.randn(x.shape, generator=generator)).sum() for x in found).backward()
    return found, {name: parameter.grad for name, parameter in backbone.named_parameters()}


def assert_same(kind, views, wanted=(True, True), mode=False, **changes):
    packed, apart = make(kind, **changes).train(mode), make(kind, pack_views=False, **changes).train(mode)
    (found, fast), (expected, slow) = (outcome(backbone, views, wanted) for backbone in (packed, apart))
    torch.testing.assert_close(found, expected)
    for name, gradient in slow.items():
        torch.testing.assert_close(fast[name], gradient, msg=name)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wanted', WANTED)
def test_they_get_the_tokens_that_they_get_one_by_one_in_values_and_gradients(kind, wanted):
    assert_same(kind, views_of(), wanted)


@pytest.mark.parametrize('kind', ['plain', 'rope'])
@pytest.mark.parametrize('changes', [{'local_norm': True}, CHECKPOINTING])
def test_masks_and_norms_and_recomputation_are_those_of_one_by_one(kind, changes):
    assert_same(kind, views_of(masks=True), mask_token=True, **changes)


def test_recomputed_activations_are_of_the_same_subsets():
    plain, recomputed = (make('rope', subset_drop_path=0.5, **more).train() for more in ({}, CHECKPOINTING))
    torch.manual_seed(0)
    expected, slow = outcome(plain, views_of(), (True, False))
    torch.manual_seed(0)
    found, fast = outcome(recomputed, views_of(), (True, False))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize('kind', ['registers', 'rope'])
def test_random_depth_keeps_or_leaves_out_whole_images(kind, monkeypatch):
    """The factors are drawn in another order, so here the n-th image of a batch always gets the n-th factor."""
    factors = torch.linspace(0, 2, 12)
    monkeypatch.setattr(DropPath, 'forward', lambda self, x: x * factors[: len(x)].view(-1, *[1] * (x.ndim - 1)))
    assert_same(kind, views_of(), mode=True, drop_path_rate=0.5)


def test_random_depth_has_the_rate_of_the_block_and_no_effect_in_evaluation():
    backbone = make('plain', drop_path_rate=0.5, depth=3).train()
    without = make('plain', depth=3)
    rates, seen = [0.25, 0.5], {0.25: [], 0.5: []}
    for block in backbone.model.blocks[1:]:
        block.drop_path1.register_forward_hook(lambda path, _, output: seen[path.drop_prob].append(output[:, 0, ...]))
    torch.manual_seed(0)
    for _ in range(30):
        backbone.forward_together(views_of())
    kept = torch.cat([factors.flatten() for factors in seen[0.25]])
    assert sorted(set(kept.tolist())) == pytest.approx([0, 1 / 0.75])
    assert kept.mean().item() == pytest.approx(1, abs=0.1)
    assert rates == sorted(seen)
    for found, expected in zip(*(network.eval().forward_together(views_of()) for network in (backbone, without))):
        assert torch.equal(found.patches, expected.patches)


def draw_by_size(monkeypatch, depth):
    """Subsets are drawn in another order, so here the n-th draw from a batch of one size is always the same."""
    draws = Counter()

    def drawn(self, batch, device):
        draws[batch] += 1
        order = torch.randperm(batch, generator=torch.Generator().manual_seed(draws[batch] % (2 * depth)))
        return order[: max(1, int(batch * (1 - self.rate)))]

    monkeypatch.setattr(SubsetDropPath, 'draw', drawn)


@pytest.mark.parametrize('kind', ['plain', 'registers', 'rope', 'rope with biases', 'gated MLP'])
@pytest.mark.parametrize(('wanted', 'rate'), [*zip(WANTED, [0.3, 0.5, 0.9], strict=True)])
def test_random_subsets_of_each_size_are_those_of_one_by_one(kind, wanted, rate, monkeypatch):
    draw_by_size(monkeypatch, depth=3)
    assert_same(kind, views_of(), wanted, mode=True, subset_drop_path=rate, depth=3)


def test_only_the_subsets_of_each_size_are_computed_and_each_block_draws_its_own():
    backbone, entered, drawn = make('registers', subset_drop_path=0.3, depth=3).train(), [], []
    for block in backbone.model.blocks[:2]:
        for part in (block.attn.proj, block.mlp):
            part.register_forward_pre_hook(lambda module, inputs: entered.append(len(inputs[0])))
    draw = SubsetDropPath.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SubsetDropPath, 'draw', lambda *inputs: drawn.append(draw(*inputs)) or drawn[-1])
        torch.manual_seed(0)  # two of the draws may be the same by chance
        backbone.forward_together(views_of())
    global_tokens, local_tokens = 4 * (5 + 4 * 5), 8 * (5 + 2 * 3)
    assert entered == [global_tokens + local_tokens] * 4, '4 of 6 global and 8 of 12 local views'
    assert len({tuple(subset.tolist()) for subset in drawn[:8]}) == 8


def test_subsets_of_all_images_and_evaluation_change_nothing():
    without = make('rope')
    backbone = make('rope')
    use_subset_drop_path(backbone.model, 0.0)
    dropping = make('rope', subset_drop_path=0.5)
    for network in (backbone.train(), dropping.eval()):
        for found, truth in zip(*(each.forward_together(views_of()) for each in (network, without))):
            torch.testing.assert_close(tuple(found), tuple(truth))


@pytest.mark.parametrize(('changes', 'calls'), [({}, 1), ({'pack_views': False}, 2)])
def test_a_block_before_the_last_runs_once(changes, calls):
    backbone, seen = make('plain', **changes), []
    backbone.model.blocks[0].mlp.register_forward_pre_hook(lambda *_: seen.append(1))
    backbone.forward_together(views_of())
    assert len(seen) == calls


@pytest.mark.parametrize('kind', ['average pooled', 'convnet', 'cross-covariance'])
def test_networks_of_other_parts_take_them_one_by_one(kind):
    backbone = make(kind)
    if kind == 'cross-covariance' and not hasattr(backbone.model, 'num_prefix_tokens'):
        pytest.skip('this version of timm does not say which tokens of XCiT are patches')
    views = ViewBatch(torch.randn(2, 2, 3, 64, 64).double(), torch.randn(3, 2, 3, 32, 32).double())
    for found, images in zip(backbone.forward_together(views), (views.global_views, views.local_views), strict=True):
        assert torch.equal(found.class_token, backbone(images).class_token)
        assert torch.equal(found.patches, backbone(images).patches)


def test_a_copy_runs_its_own_blocks():
    backbone = make('rope')
    copied = randomised(copy.deepcopy(backbone), seed=1)
    expected = make('rope')
    expected.load_state_dict(copied.state_dict())
    for found, truth in zip(*(network.eval().forward_together(views_of()) for network in (copied, expected))):
        assert torch.equal(found.patches, truth.patches)
