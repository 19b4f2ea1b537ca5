import copy
import inspect
import itertools

import pytest
import timm
import torch
from networks import random_network, randomised
from test_timm_backbone import NETWORKS
from timm.models.vision_transformer import ResPostBlock
from torch import nn

from dino_plugin.backbones.stochastic_depth import SubsetDropPath, use_subset_drop_path
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.distillation import Teacher

KINDS = ['plain', 'registers', 'rope']


def make(kind, rate=0.5, **changes):
    """A backbone in training, in which each tensor matters, or LayerScale would hide what the branches do."""
    name, arguments = NETWORKS[kind]
    return randomised(TimmBackbone(name, subset_drop_path=rate, **{**arguments, **changes})).train()


def seeded(seed, function, *inputs):
    torch.manual_seed(seed)
    return function(*inputs)


def images_of(batch):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def branches_of(block, rope):
    """The two residuals of timm's blocks, written down; EvaBlock names its LayerScale otherwise than Block."""
    if rope is None:
        return [
            lambda x: block.ls1(block.attn(block.norm1(x))),
            lambda x: block.ls2(block.mlp(block.norm2(x))),
        ]
    return [
        lambda x: block.gamma_1 * block.attn(block.norm1(x), rope=rope),
        lambda x: block.gamma_2 * block.mlp(block.norm2(x)),
    ]


@pytest.mark.parametrize('kind', ['layer scale', 'rotary'])
@pytest.mark.parametrize(('rate', 'size'), [(0.1, 4), (0.3, 3), (0.5, 2), (0.9, 1)])
def test_a_block_is_the_equation_in_values_and_gradients(kind, rate, size):
    model = random_network(kind)
    plain = copy.deepcopy(model).blocks[1]
    use_subset_drop_path(model, rate)
    block = model.train().blocks[1]
    rope = model.rope.get_embed(shape=(2, 3)) if kind == 'rotary' else None
    x = torch.randn(5, 6 + model.num_prefix_tokens, 32, requires_grad=True)
    found = seeded(0, lambda: block(x) if rope is None else block(x, rope=rope))

    torch.manual_seed(0)
    slow_x = x.detach().clone().requires_grad_()
    expected = slow_x
    for branch in branches_of(plain, rope):
        subset = torch.randperm(5)[:size]
        expected = expected.index_add(0, subset, branch(expected[subset]) * (5 / size))

    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    (found * direction).sum().backward()
    (expected * direction).sum().backward()
    torch.testing.assert_close(x.grad, slow_x.grad)
    for (name, fast), slow in zip(block.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(fast.grad, slow.grad, msg=name, rtol=1e-4, atol=1e-4)


def branch_of(rate, function=torch.sin):
    """A normalisation, the drop path whose subset it lets in, and between them a function."""
    norm, drop_path = nn.Identity(), SubsetDropPath(rate)
    norm.register_forward_pre_hook(drop_path.select)
    return lambda x: drop_path(function(norm(x)))


@pytest.mark.parametrize('rate', [0.25, 0.5, 0.75])
def test_the_mean_over_all_subsets_is_the_full_residual(rate, monkeypatch):
    branch, x = branch_of(rate), torch.randn(4, 3)
    orders = [torch.tensor(order) for order in itertools.permutations(range(4))]
    left = iter(orders)
    monkeypatch.setattr(torch, 'randperm', lambda number, device: next(left))
    mean = torch.stack([branch(x) for _ in orders]).mean(0)
    torch.testing.assert_close(mean, x.sin())


def test_each_sample_gets_its_own_residual_and_the_others_nothing():
    branch, x = branch_of(0.5), torch.randn(6, 3)
    for seed in range(5):
        residual = seeded(seed, branch, x)
        dropped = (residual == 0).all(1)
        assert dropped.sum() == 3
        torch.testing.assert_close(residual[~dropped], 2 * x.sin()[~dropped])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('batch', 'rate', 'size'), [(8, 0.3, 5), (4, 0.5, 2), (3, 0.9, 1), (7, 0.1, 6), (1, 0.5, 1)])
def test_only_the_subset_is_computed_in_either_branch(kind, batch, rate, size):
    backbone = make(kind, rate)
    entered = []
    for block in backbone.model.blocks:
        for part in (block.attn, block.mlp):
            part.register_forward_pre_hook(lambda module, inputs: entered.append(len(inputs[0])))
    tokens = backbone(images_of(batch))
    assert entered == [size] * 4
    assert len(tokens.class_token) == batch


def test_branches_and_blocks_draw_their_own_subsets():
    backbone = make('plain', rate=0.5)
    seen = []
    for block in backbone.model.blocks:
        for drop_path in (block.drop_path1, block.drop_path2):
            drop_path.register_forward_pre_hook(lambda module, inputs: seen.append(module.subset.tolist()))
    backbone(images_of(16))
    assert len(set(map(tuple, seen))) == 4
    assert all(len(set(subset)) == 8 for subset in seen)


@pytest.mark.parametrize('kind', KINDS)
def test_evaluation_and_a_rate_of_0_and_a_batch_of_1_change_nothing(kind):
    backbone, images = make(kind), images_of(4)
    without = make(kind, rate=0.0).eval()
    assert not any(isinstance(module, SubsetDropPath) for module in without.modules())
    expected = without(images).patches
    assert not torch.equal(backbone(images).patches, expected)
    assert torch.equal(backbone.eval()(images).patches, expected)
    assert torch.equal(backbone.train()(images[:1]).patches, without(images[:1]).patches)
    use_subset_drop_path(without.model, 0.0)
    assert torch.equal(without.train()(images).patches, expected)


def test_the_seed_repeats_the_subsets():
    backbone, images = make('plain'), images_of(8)
    first, again, other = (seeded(seed, backbone, images).patches for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize('kind', KINDS)
def test_a_copy_has_its_own_subsets_and_mode(kind):
    backbone, images = make(kind), images_of(4)
    copied = copy.deepcopy(backbone)
    for block in copied.model.blocks:
        for norm, drop_path in ((block.norm1, block.drop_path1), (block.norm2, block.drop_path2)):
            assert [hook.__self__ for hook in norm._forward_pre_hooks.values()] == [drop_path]
    assert torch.equal(seeded(0, copied, images).patches, seeded(0, backbone, images).patches)

    backbone.eval()
    assert torch.equal(backbone(images).patches, make(kind, rate=0.0).eval()(images).patches)
    assert not torch.equal(copied(images).patches, backbone(images).patches)


def test_the_teacher_computes_every_sample():
    backbone, images = make('rope'), images_of(4)
    teacher = Teacher(copy.deepcopy(backbone), {}).train()
    assert backbone.training
    assert torch.equal(teacher.backbone(images).patches, make('rope', rate=0.0).eval()(images).patches)


@pytest.mark.parametrize('kind', KINDS)
def test_recomputed_activations_are_of_the_same_subset(kind):
    plain, recomputed = make(kind), make(kind, gradient_checkpointing=True)
    for backbone in (plain, recomputed):
        seeded(0, backbone, images_of(6)).patches.square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


@pytest.mark.parametrize('kind', ['plain', 'rope'])
def test_a_compiled_block_is_one_graph_and_draws_the_same_subset(kind, monkeypatch):
    """No hook breaks the graph. The type checker of the tests would, and dynamo without a backend is enough to see."""
    for name in ('draw', 'select', 'forward'):
        monkeypatch.setattr(SubsetDropPath, name, inspect.unwrap(getattr(SubsetDropPath, name)))
    plain, compiled = make(kind), make(kind)
    for block in compiled.model.blocks:
        block.compile(backend='eager', fullgraph=True)
    for seed in range(2):
        torch.testing.assert_close(*(seeded(seed, backbone, images_of(4)).patches for backbone in (plain, compiled)))


def test_the_names_of_the_tensors_are_those_without_it():
    backbone, without = make('rope'), make('rope', rate=0.0)
    assert list(backbone.state_dict()) == list(without.state_dict())
    assert backbone.description == without.description
    backbone.load_state_dict(without.state_dict())


def test_the_rate_is_the_same_at_all_depths():
    rates = [module.rate for module in make('plain', rate=0.3, depth=5).modules() if isinstance(module, SubsetDropPath)]
    assert rates == [0.3] * 10


@pytest.mark.parametrize('rate', [1, 1.5, -0.1, float('nan')])
def test_rates_outside_0_to_1_are_refused(rate):
    with pytest.raises(ValueError, match=rf'rate={rate} is the share of samples without a residual, in \[0, 1\)'):
        make('plain', rate=rate)


def test_networks_with_other_blocks_are_refused():
    with pytest.raises(ValueError, match=r'ResNet is not made of blocks with .*norm1.*use timm.s drop_path_rate'):
        TimmBackbone('resnet10t', subset_drop_path=0.3)
    with pytest.raises(ValueError, match='VisionTransformer is not made of blocks'):
        make('plain', block_fn=ResPostBlock)
    with pytest.raises(ValueError, match='Hiera is not made of blocks'):
        use_subset_drop_path(timm.create_model('hiera_tiny_224', embed_dim=8, stages=(1, 1, 1, 1)), 0.3)


def test_a_block_that_regroups_its_batch_is_told_so():
    branch = branch_of(0.5, lambda x: x.reshape(-1, 1))
    with pytest.raises(ValueError, match='a residual of 6 samples for 2 that entered the branch'):
        branch(torch.randn(4, 3))


def test_two_kinds_of_stochastic_depth_are_refused():
    with pytest.raises(ValueError, match='has stochastic depth already; give drop_path_rate=0'):
        make('plain', drop_path_rate=0.1)
    with pytest.raises(ValueError, match='has stochastic depth already'):
        use_subset_drop_path(make('plain').model, 0.3)
    make('plain', drop_path_rate=0.0)
