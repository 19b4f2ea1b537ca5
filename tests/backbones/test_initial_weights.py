"""Transformers start as the authors draw them, where a recipe says so; otherwise as timm draws them."""

import pytest
import timm
import torch
from torch import nn

import dino_plugin.backbones.timm_backbone as module
from dino_plugin.backbones.timm_backbone import TimmBackbone

SMALL = dict(depth=3, embed_dim=192, num_heads=3)


def built(name, **arguments):
    torch.manual_seed(0)
    return TimmBackbone(name, **SMALL, **arguments)


@pytest.mark.parametrize('token_std', [0.02, 1e-6])
@pytest.mark.parametrize(
    'name',
    [
        'vit_small_patch16_224',
        'vit_small_patch14_reg4_dinov2',
        'vit_giant_patch14_dinov2',  # SwiGLU, whose gates timm starts near zero
        'vit_small_patch16_dinov3_qkvb',  # timm divides the last layers of block n by sqrt(2 n)
        'vit_7b_patch16_dinov3',
    ],
)
def test_tokens_have_the_given_deviation_and_all_linear_layers_that_of_the_authors(name, token_std):
    model = built(name, token_std=token_std).model
    tokens = [token for token in (model.cls_token, model.reg_token) if token is not None]
    assert len(tokens) == 1 + ('reg4' in name or 'dinov3' in name)
    for token in tokens:
        errors = (2 * token.numel()) ** -0.5  # of the deviation, relative
        assert abs(token.std() / token_std - 1) < 4 * errors
        assert abs(token.mean()) < 4 * token_std * token.numel() ** -0.5
    linear = {key: layer for key, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    assert len(linear) >= 4 * SMALL['depth']
    for key, layer in linear.items():
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02), key
        assert layer.bias is None or not layer.bias.any(), key
    if model.pos_embed is not None:
        assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.02)


def test_one_half_of_the_gates_of_swiglu_is_no_smaller_than_the_other():
    weight = built('vit_giant_patch14_dinov2', token_std=1e-6).model.blocks[0].mlp.fc1.weight
    for half in weight.chunk(2):
        assert half.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize('name', ['vit_small_patch16_224', 'vit_small_patch16_dinov3_qkvb', 'vit_giant_patch14_dinov2'])
def test_without_the_option_the_weights_are_timms(name):
    plain = built(name).model.state_dict()
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=0, dynamic_img_size=True, **SMALL).state_dict()
    assert plain.keys() == theirs.keys()
    assert all(torch.equal(plain[key], theirs[key]) for key in theirs)


def test_the_weights_are_a_function_of_the_seed_and_only_tokens_depend_on_the_deviation():
    first, again, other = (built('vit_small_patch16_224', token_std=std).model for std in (0.02, 0.02, 1e-6))
    different = {
        key
        for key, value in first.state_dict().items()
        if not torch.equal(value, other.state_dict()[key]) or not torch.equal(value, again.state_dict()[key])
    }
    assert different == {'cls_token'}
    torch.testing.assert_close(first.cls_token, other.cls_token * 2e4)


def test_weights_of_a_file_and_released_weights_stay_as_they_are(tmp_path, monkeypatch):
    saved = built('vit_small_patch16_224')
    expected = {key: value.clone() for key, value in saved.model.state_dict().items()}
    torch.save(saved.model.state_dict(), tmp_path / 'backbone.pth')
    loaded = built('vit_small_patch16_224', token_std=0.02, checkpoint=str(tmp_path / 'backbone.pth'))
    monkeypatch.setattr(module, 'create', lambda name, pretrained, arguments: saved.model)
    released = built('vit_small_patch16_224', token_std=0.02, pretrained=True)
    assert expected['cls_token'].std() < 1e-5
    for network in (loaded, released):
        assert all(torch.equal(value, expected[key]) for key, value in network.model.state_dict().items())


@pytest.mark.parametrize('name', ['resnet18', 'vit_medium_patch16_gap_240'])
def test_a_network_without_a_class_token_refuses_a_deviation_for_it(name):
    with pytest.raises(ValueError, match='has no class token'):
        TimmBackbone(name, token_std=0.02)
