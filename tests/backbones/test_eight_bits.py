"""float8: each product is that of rounded numbers, and everything around it stays."""

import pytest
import torch
from torch.nn.functional import mse_loss

from dino_plugin.backbones.timm_backbone import TimmBackbone

SMALL = dict(embed_dim=48, depth=2, num_heads=3, patch_size=8, img_size=32)


def make(**changes):
    torch.manual_seed(0)
    return TimmBackbone('vit_tiny_patch16_224', **SMALL, **changes)


def rounded(x):
    """To float8 with four bits of exponent and three of mantissa, with one scale for all values."""
    scale = x.abs().max() / 448
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def test_a_layer_multiplies_rounded_numbers():
    pytest.importorskip('torchao', reason="pip install 'dino_plugin[float8]'")
    plain, small = make(), make(float8='tensorwise')
    assert list(plain.state_dict()) == list(small.state_dict())
    x = torch.randn(32, 48)
    for name in ('blocks.0.attn.qkv', 'blocks.1.mlp.fc1'):
        layer, other = plain.model.get_submodule(name), small.model.get_submodule(name)
        expected = rounded(x) @ rounded(layer.weight).T + layer.bias
        torch.testing.assert_close(other(x), expected, rtol=1e-4, atol=1e-4)
        assert mse_loss(other(x), layer(x)) > 1e-7, 'nothing was rounded'


def test_it_trains_and_a_width_that_does_not_fit_stays():
    float8_linear = pytest.importorskip('torchao.float8.float8_linear', reason="pip install 'dino_plugin[float8]'")
    backbone = make(float8=True, mlp_ratio=50 / 48)
    kinds = {name: type(module) for name, module in backbone.model.blocks[0].named_modules()}
    assert kinds['attn.qkv'] is kinds['attn.proj'] is float8_linear.Float8Linear
    assert kinds['mlp.fc1'] is kinds['mlp.fc2'] is torch.nn.Linear, '50 is no multiple of 16'
    images = torch.randn(4, 3, 32, 32)
    plain = make(mlp_ratio=50 / 48)
    for network in (backbone, plain):
        network(images).patches.square().sum().backward()
    gradients = [torch.cat([p.grad.flatten() for p in network.parameters()]) for network in (backbone, plain)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize(('name', 'recipe', 'message'), [
    ('vit_tiny_patch16_224', 'rows', "float8='rows' is no recipe"),
    ('resnet10t', True, 'is for the blocks of transformers'),
])  # fmt: skip
def test_what_cannot_be_is_refused(name, recipe, message):
    pytest.importorskip('torchao', reason="pip install 'dino_plugin[float8]'")
    with pytest.raises(ValueError, match=message):
        TimmBackbone(name, float8=recipe)
