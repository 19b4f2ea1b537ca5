import pytest
import torch
from test_timm_backbone import NETWORKS

from dino_plugin.backbones.feature_vector import TimmFeatureVector

WITH_CLASS_TOKEN = ['plain', 'registers', 'rope', 'hybrid']


def make(kind, **changes):
    torch.manual_seed(0)
    name, arguments = NETWORKS[kind]
    return TimmFeatureVector(model_name=name, **{**arguments, **changes}).eval()


def images(size=(32, 48)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('kind', WITH_CLASS_TOKEN)
def test_the_class_token_and_the_mean_are_timms(kind):
    vector = make(kind)
    tokens = vector.backbone.model.forward_features(images())
    mean = tokens[:, vector.backbone.model.num_prefix_tokens :].mean(1)
    assert torch.equal(vector(images())[0], tokens[:, 0])
    torch.testing.assert_close(make(kind, features='mean')(images())[0], mean)
    both = make(kind, features='class+mean')(images())[0]
    torch.testing.assert_close(both, torch.cat([tokens[:, 0], mean], dim=1))


@pytest.mark.parametrize('kind', ['average pooled', 'convnet'])
def test_networks_without_a_class_token_give_what_timm_pools(kind):
    vector = make(kind)
    torch.testing.assert_close(vector(images())[0], vector.backbone.model(images()))


@pytest.mark.parametrize('kind', WITH_CLASS_TOKEN)
@pytest.mark.parametrize('features', ['class', 'class+mean'])
def test_the_last_blocks_give_their_normalised_class_tokens_and_the_last_one_its_mean(kind, features):
    vector = make(kind, features=features, last_blocks=2)
    model, seen = vector.backbone.model, []
    for block in model.blocks:
        block.register_forward_hook(lambda block, inputs, output: seen.append(output))
    found = vector(images())[0]
    first, last = (model.norm(tokens) for tokens in seen)
    expected = [first[:, 0], last[:, 0]]
    if features == 'class+mean':
        expected.append(last[:, model.num_prefix_tokens :].mean(1))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


@pytest.mark.parametrize('kind', list(NETWORKS))
@pytest.mark.parametrize('features', ['class', 'mean', 'class+mean'])
def test_the_width_is_that_of_the_vector(kind, features):
    for last_blocks in (1,) if kind == 'convnet' else (1, 2):
        vector = make(kind, features=features, last_blocks=last_blocks)
        assert vector.out_channels == tuple(found.shape[1] for found in vector(images()))


def test_a_frozen_network_has_no_gradients_and_stays_in_evaluation():
    vector = make('plain', frozen=True, drop_path_rate=0.5)
    vector.train()
    assert not any(module.training for module in vector.modules())
    assert not vector(images())[0].requires_grad
    assert not any(parameter.requires_grad for parameter in vector.parameters())
    trainable = make('plain')
    trainable(images())[0].sum().backward()
    assert trainable.backbone.model.patch_embed.proj.weight.grad is not None


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        ('plain', dict(features='patches'), r"must be one of \('class', 'mean', 'class\+mean'\), got 'patches'"),
        ('plain', dict(last_blocks=3), r'last_blocks=3 must be 1 to 2 with vit_tiny_patch16_224'),
        ('plain', dict(last_blocks=0), r'last_blocks=0 must be 1 to 2'),
        ('convnet', dict(last_blocks=2), r'must be 1 to 1 with resnet10t .*model\.backbone\.last_blocks=1'),
        ('plain', dict(init_cfg=dict(type='Pretrained')), r'init_cfg=.*give the weights by checkpoint=PATH'),
    ],
)
def test_what_the_network_does_not_have_is_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(kind, **arguments)
