"""Texts in a config that stand for the widths of the backbone's maps."""

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import nn

SMALL = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=192, depth=4, num_heads=2)
TRANSFORMER = dict(type='dino_plugin.TimmFeatureMaps', out_indices=(0, 2, 3), **SMALL)
CONVNET = dict(type='dino_plugin.TimmFeatureMaps', model_name='resnet10t', out_indices=(1, 2, 3))


class Recorder(nn.Module):
    """A model that builds its backbone from a config, as OpenMMLab's do, and keeps its other arguments."""

    def __init__(self, backbone, **parts):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.parts = parts


def built(backbone=TRANSFORMER, **parts) -> Recorder:
    return MODELS.build(
        ConfigDict(type='dino_plugin.WidthFromBackbone', model=Recorder, backbone=backbone, head=ConfigDict(parts))
    )


@pytest.mark.parametrize(
    ('text', 'transformer', 'convnet'),
    [
        ('widths', [192] * 3, [64, 128, 256]),
        ('sum(widths)', 576, 448),
        ('widths[1]', 192, 128),
        ('widths[-1]', 192, 256),
        ('width', 192, None),
        ('width // 64', 3, None),
        ('width // 50', 3, None),
        ('width//64', 3, None),
    ],
)
def test_each_form_is_what_it_says(text, transformer, convnet):
    assert built(number=text).parts == {'head': {'number': transformer}}
    if convnet is not None:
        assert built(CONVNET, number=text).parts == {'head': {'number': convnet}}


def test_texts_are_found_at_any_depth_and_all_else_stays():
    part = dict(a=[dict(b=('width', 7)), 'widths'], c=12, name='bandwidth of 3', path='a_width/b', none=None)
    expected = dict(a=[dict(b=(192, 7)), [192] * 3], c=12, name='bandwidth of 3', path='a_width/b', none=None)
    head = built(**part).parts['head']
    assert head == expected
    assert head.a[0].b == (192, 7), 'models read their configs by attributes'


def test_the_config_itself_keeps_its_texts_and_the_backbone_its_own_arguments():
    config = ConfigDict(
        type='dino_plugin.WidthFromBackbone', model=Recorder, backbone=TRANSFORMER, head=dict(in_channels='width')
    )
    first, second = MODELS.build(config), MODELS.build(config)
    assert config.head.in_channels == 'width'
    assert first.backbone is not second.backbone
    assert type(first) is Recorder


def test_one_network_is_built_and_given_to_the_model(monkeypatch):
    import timm

    names = []
    create = timm.create_model
    monkeypatch.setattr(
        timm, 'create_model', lambda name, *rest, **more: names.append(name) or create(name, *rest, **more)
    )
    assert built().backbone.out_channels == (192, 192, 192)
    assert names == ['vit_tiny_patch16_224']


@pytest.mark.parametrize('text', ['width * 2', 'width / 64', 'widths[x]', '2 * width', 'sum(width)', 'width // 0'])
def test_what_looks_like_a_width_and_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"is none of 'width', 'width // NUMBER', 'widths', .*'sum\(widths\)'"):
        built(number=text)


@pytest.mark.parametrize(
    ('backbone', 'text', 'message'),
    [
        (CONVNET, 'width', r'one width, but the backbone gives \[64, 128, 256\]\. .*model\.neck=None'),
        (CONVNET, 'width // 64', r'needs maps of one width'),
        (TRANSFORMER, 'width // 193', r"'width//193' is 0 with a backbone of width 192; write a number"),
        (TRANSFORMER, 'widths[3]', r'does not exist; the backbone gives 3 maps'),
    ],
)
def test_numbers_that_do_not_exist_are_refused(backbone, text, message):
    with pytest.raises(ValueError, match=message):
        built(backbone, number=text)


def test_a_backbone_that_does_not_tell_its_width_is_refused():
    with pytest.raises(TypeError, match=r'TimmBackbone has no tuple out_channels .* use dino_plugin\.TimmFeatureMaps'):
        built(dict(type='dino_plugin.TimmBackbone', **SMALL))
