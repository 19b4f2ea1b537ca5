"""A normalisation of their own for class token and registers of local views."""

import copy

import pytest
import torch
from networks import randomised
from test_timm_backbone import NETWORKS
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.targets import Centering
from dino_plugin.core.views import ViewBatch

KINDS = ['plain', 'registers', 'rope']


def make(kind, **changes):
    """Untied by random numbers: each tensor differs from its counterpart."""
    name, arguments = NETWORKS[kind]
    return randomised(TimmBackbone(name, local_norm=True, **{**arguments, **changes}))


def tokens_before_the_norm(backbone, images):
    seen = []
    handle = backbone.model.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    backbone(images)
    handle.remove()
    return seen[0]


def slow_layer_norm(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize('kind', KINDS)
def test_global_views_do_not_know_of_it(kind):
    backbone, images = make(kind), torch.randn(2, 3, 32, 32)
    name, arguments = NETWORKS[kind]
    without = TimmBackbone(name, **arguments).eval()
    without.model.load_state_dict(backbone.model.state_dict())
    for tokens, expected in zip(backbone(images), without(images)):
        assert torch.equal(tokens, expected)
    for tokens, expected in zip(without(images, local=True), without(images)):
        assert torch.equal(tokens, expected)


@pytest.mark.parametrize('kind', KINDS)
def test_local_views_have_it_for_class_token_and_registers_and_the_shared_one_for_patches(kind):
    backbone, images = make(kind), torch.randn(2, 3, 16, 24)
    seen = []
    forward_features = backbone.model.forward_features
    backbone.model.forward_features = lambda x: seen.append(forward_features(x)) or seen[-1]
    tokens = backbone(images, local=True)
    raw, prefix = tokens_before_the_norm(backbone, images), backbone.model.num_prefix_tokens
    torch.testing.assert_close(tokens.class_token, slow_layer_norm(raw[:, 0], backbone.local_norm))
    torch.testing.assert_close(seen[0][:, :prefix], slow_layer_norm(raw[:, :prefix], backbone.local_norm))
    torch.testing.assert_close(tokens.patches.flatten(1, 2), slow_layer_norm(raw[:, prefix:], backbone.model.norm))
    assert torch.equal(tokens.patches, backbone(images).patches)
    assert not torch.allclose(tokens.class_token, backbone(images).class_token)


def test_it_learns_from_local_views_only_and_the_shared_one_from_its_patches():
    backbone, images = make('registers'), torch.randn(2, 3, 32, 32)
    local_norm, norm = backbone.local_norm, backbone.model.norm
    backbone(images).class_token.square().sum().backward()
    assert local_norm.weight.grad is None
    assert norm.weight.grad.abs().min() > 0
    backbone.zero_grad()
    backbone(images, local=True).class_token.square().sum().backward()
    assert local_norm.weight.grad.abs().min() > 0
    assert not norm.weight.grad.any()
    backbone.zero_grad()
    backbone(images, local=True).patches.square().sum().backward()
    assert norm.weight.grad.abs().min() > 0
    assert not local_norm.weight.grad.any()


@pytest.mark.parametrize('kind', KINDS)
def test_it_starts_as_the_shared_one_bit_for_bit(kind, tmp_path):
    name, arguments = NETWORKS[kind]
    trained, images = randomised(TimmBackbone(name, **arguments)), torch.randn(2, 3, 16, 16)
    torch.save(trained.model.state_dict(), tmp_path / 'backbone.pth')
    backbone = TimmBackbone(name, local_norm=True, checkpoint=str(tmp_path / 'backbone.pth'), **arguments).eval()
    assert torch.equal(backbone(images, local=True).class_token, trained(images).class_token)
    assert backbone.local_norm.weight is not backbone.model.norm.weight


def test_the_teacher_averages_it_and_sees_no_view_that_needs_it():
    torch.manual_seed(0)
    backbone = make('rope')
    head = DINOHead(24, prototypes=8, hidden_dim=10, bottleneck_dim=4)
    model = SelfDistillation(backbone, {'cls': head}, {'dino': DINOLoss('cls', Centering(8))}, momentum=0.75)
    views = ViewBatch(torch.randn(2, 3, 3, 32, 32), torch.randn(2, 3, 3, 16, 16))
    asked = []
    for network in (model.student, model.teacher):
        network.backbone.local_norm.register_forward_hook(
            lambda module, inputs, output, network=network: asked.append((network is model.student, len(output)))
        )
    model(views, 0.0)['dino'].backward()
    assert asked == [(True, 6)]
    assert all(parameter.grad is not None for parameter in backbone.parameters())

    before = copy.deepcopy(model.teacher.backbone.local_norm)
    nn.init.normal_(backbone.local_norm.weight)
    model.update_teacher(0.0)
    expected = 0.75 * before.weight + 0.25 * backbone.local_norm.weight
    torch.testing.assert_close(model.teacher.backbone.local_norm.weight, expected)


def test_it_learns_as_fast_as_the_shared_one_under_a_layer_decay():
    distances = make('rope').layers_to_output()
    for part in ('weight', 'bias'):
        assert distances[f'local_norm.{part}'] == distances[f'model.norm.{part}'] == 0


def test_the_next_call_has_the_shared_one_again_also_after_an_error():
    backbone, images = make('plain'), torch.randn(2, 3, 32, 32)
    expected = backbone(images).class_token
    stumble = backbone.local_norm.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backbone(images, local=True)
    stumble.remove()
    assert torch.equal(backbone(images).class_token, expected)
    assert not backbone.model.norm._forward_hooks


@pytest.mark.parametrize('kind', ['average pooled', 'convnet'])
def test_networks_without_a_normalised_class_token_are_refused(kind):
    with pytest.raises(ValueError, match='has no normalised class token, which local_norm needs'):
        make(kind)
    with pytest.raises(ValueError, match='has no normalised class token, which local_norm needs'):
        TimmBackbone('swin_tiny_patch4_window7_224', local_norm=True, depths=(1, 1), embed_dim=24, num_heads=(1, 2))
