import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dino_plugin.core.heads import DINOHead


def small_head(**changes):
    return DINOHead(**{'in_dim': 12, 'prototypes': 7, 'hidden_dim': 16, 'bottleneck_dim': 5, **changes})


def test_the_default_head_is_the_papers():
    head = DINOHead(384)
    shapes = [tuple(layer.weight.shape) for layer in head.mlp if isinstance(layer, nn.Linear)]
    assert shapes == [(2048, 384), (2048, 2048), (256, 2048)]
    assert sum(isinstance(layer, nn.GELU) for layer in head.mlp) == 2
    assert head.last_layer.weight.shape == (65536, 256)
    assert head.last_layer.bias is None


def test_scores_equal_the_equation():
    torch.manual_seed(0)
    head = small_head(norm_last_layer=False)
    magnitude, direction = (
        head.last_layer.parametrizations.weight.original0,
        head.last_layer.parametrizations.weight.original1,
    )
    nn.init.uniform_(magnitude, 0.5, 2.0)
    tokens = torch.randn(3, 2, 12)
    linears = [layer for layer in head.mlp if isinstance(layer, nn.Linear)]
    for view in range(3):
        for image in range(2):
            z = tokens[view, image]
            z = F.gelu(linears[0].weight @ z + linears[0].bias)
            z = F.gelu(linears[1].weight @ z + linears[1].bias)
            z = linears[2].weight @ z + linears[2].bias
            z = z / z.norm()
            for k in range(7):
                expected = magnitude[k, 0] * (direction[k] / direction[k].norm()) @ z
                torch.testing.assert_close(head(tokens)[view, image, k], expected, rtol=1e-5, atol=1e-6)


def test_with_a_normalised_last_layer_scores_are_cosines_and_magnitudes_never_train():
    torch.manual_seed(0)
    head = small_head()
    scores = head(torch.randn(1000, 12) * 100)
    assert scores.abs().max() <= 1 + 1e-5
    magnitude = head.last_layer.parametrizations.weight.original0
    assert torch.equal(magnitude, torch.ones_like(magnitude))
    assert not magnitude.requires_grad
    assert small_head(norm_last_layer=False).last_layer.parametrizations.weight.original0.requires_grad


def test_linear_weights_start_from_a_truncated_normal_of_std_002():
    torch.manual_seed(0)
    weight = DINOHead(64, prototypes=8, hidden_dim=512).mlp[2].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert weight.mean().abs().item() < 2e-4
    assert torch.equal(DINOHead(64, prototypes=8).mlp[0].bias, torch.zeros(2048))


def test_batch_norm_is_after_both_hidden_layers_and_nowhere_else():
    kinds = [type(layer) for layer in small_head(batch_norm=True).mlp]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU] * 2 + [nn.Linear]


def test_a_copy_of_the_head_is_equal_bit_for_bit():
    head = small_head()
    tokens = torch.randn(4, 12)
    assert torch.equal(head(tokens), copy.deepcopy(head)(tokens))


def test_the_bottlenecks_norm_does_not_underflow_in_half_precision():
    torch.manual_seed(0)
    head = small_head()
    with torch.no_grad():
        head.mlp[-1].weight.mul_(1e-5)
    tokens = torch.randn(4, 12)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        scores = head(tokens)
    assert scores.isfinite().all()
    assert scores.float().norm() > 0.1 * math.sqrt(4)


def plain_head(**changes):
    return small_head(norm_last_layer=False, weight_norm=False, **changes)


def test_plain_prototypes_equal_the_equation_in_values_and_gradients():
    torch.manual_seed(0)
    head = plain_head()
    tokens = torch.randn(3, 2, 12)
    weight = head.last_layer.weight.detach().clone().requires_grad_()
    bottleneck = head.mlp(tokens)
    expected = torch.stack([(weight[k] * bottleneck).sum(-1) / (bottleneck**2).sum(-1).sqrt() for k in range(7)], -1)
    found = head(tokens)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    (slow,) = torch.autograd.grad((expected * direction).sum(), weight, retain_graph=True)
    (found * direction).sum().backward()
    torch.testing.assert_close(head.last_layer.weight.grad, slow)


def test_plain_prototypes_start_from_a_truncated_normal_and_their_magnitudes_train():
    torch.manual_seed(0)
    weight = DINOHead(64, prototypes=512, norm_last_layer=False, weight_norm=False).last_layer.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert weight.norm(dim=1).mean().item() == pytest.approx(0.02 * math.sqrt(256), rel=0.02)
    head = plain_head()
    head(torch.randn(4, 12)).logsumexp(-1).sum().backward()
    along = (head.last_layer.weight.grad * head.last_layer.weight).sum(1)
    assert (along.abs() > 0).all()


def test_plain_prototypes_are_one_tensor_which_is_known_as_the_last_layer():
    names = [name for name, _ in nn.ModuleDict({'cls': plain_head()}).named_parameters()]
    assert [name for name in names if '.last_layer.' in name] == ['cls.last_layer.weight']
    names = [name for name, _ in nn.ModuleDict({'cls': small_head()}).named_parameters()]
    assert [name.rsplit('.')[-1] for name in names if '.last_layer.' in name] == ['original0', 'original1']


def test_magnitudes_cannot_be_kept_where_there_are_none():
    with pytest.raises(ValueError, match='weight_norm=False; also give norm_last_layer=False'):
        small_head(weight_norm=False)


def test_a_head_with_a_share_is_a_head_on_the_first_features():
    torch.manual_seed(0)
    head = small_head(share=0.5)
    torch.manual_seed(0)
    narrow = small_head(in_dim=6)
    tokens = torch.randn(2, 3, 12)
    assert torch.equal(head(tokens), narrow(tokens[..., :6]))
    changed = tokens.clone()
    changed[..., 6:] = 9
    assert torch.equal(head(changed), head(tokens))


@pytest.mark.parametrize('share', [0.0, -0.5, 1.01, 0.01])
def test_a_share_that_leaves_no_feature_is_refused(share):
    with pytest.raises(ValueError, match=f'share={share} of 12 features must be in'):
        small_head(share=share)
