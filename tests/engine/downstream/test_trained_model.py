"""A checkpoint says which network its backbone is, to tools/test.py."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.engine.downstream.describe_backbone import describe
from dino_plugin.engine.downstream.trained_model import name_backbone
from dino_plugin.registry import MODELS

ARGUMENTS = dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
MAPS = 'dino_plugin.TimmFeatureMaps'


def saved(path, name='vit_tiny_patch16_224', **arguments) -> str:
    """The checkpoint of a model with such a backbone inside."""
    model = nn.ModuleDict({'backbone': MODELS.build(dict(type=MAPS, model_name=name, **arguments))})
    checkpoint = {'state_dict': model.state_dict(), 'meta': {}}
    describe(checkpoint, model)
    torch.save(checkpoint, path)
    return str(path)


def test_the_network_is_the_one_in_the_checkpoint_and_its_origin_is_forgotten(tmp_path):
    path = saved(tmp_path / 'iter_2.pth', **ARGUMENTS, drop_path_rate=0.1)
    sources = dict(checkpoint='gone.pth', checkpoint_source='student', allow_mismatch=True, pretrained=True)
    model = ConfigDict(backbone=dict(type=MAPS, **sources, frozen=True, drop_path_rate=0.3))
    name_backbone(model, path)
    expected = dict(type=MAPS, model_name='vit_tiny_patch16_224', frozen=True, **ARGUMENTS, drop_path_rate=0.3)
    assert model.backbone == expected
    MODELS.build(model.backbone).load_state_dict(
        {key.removeprefix('backbone.'): value for key, value in torch.load(path)['state_dict'].items()}
    )


def test_a_network_that_the_config_names_is_the_configs(tmp_path):
    model = ConfigDict(backbone=dict(type=MAPS, model_name='resnet10t', pretrained=True, checkpoint=None))
    name_backbone(model, saved(tmp_path / 'iter_2.pth', **ARGUMENTS))
    assert model == dict(backbone=dict(type=MAPS, model_name='resnet10t'))


def test_a_published_shape_tells_the_network_of_a_checkpoint_that_does_not_say(tmp_path):
    network = TimmBackbone('vit_small_patch16_224')
    state = {f'backbone.backbone.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': {**state, 'decode_head.conv_seg.bias': torch.zeros(2)}}, tmp_path / 'old.pth')
    model = ConfigDict(backbone=dict(type=MAPS, checkpoint=None))
    name_backbone(model, str(tmp_path / 'old.pth'))
    assert 'checkpoint' not in model.backbone
    rebuilt = MODELS.build(model.backbone).backbone
    assert [value.shape for value in rebuilt.state_dict().values()] == [
        value.shape for value in network.state_dict().values()
    ]


def test_a_checkpoint_that_does_not_say_needs_one_of_two_options(tmp_path):
    torch.save({'state_dict': {'backbone.x': torch.zeros(1)}, 'meta': {}}, tmp_path / 'old.pth')
    cure = r'old\.pth does not say .*model\.backbone\.checkpoint=FILE.*model\.backbone\.model_name=vit_small_patch16'
    with pytest.raises(ValueError, match=cure):
        name_backbone(ConfigDict(backbone=dict(type=MAPS, checkpoint=None)), str(tmp_path / 'old.pth'))
    model = ConfigDict(backbone=dict(type=MAPS, checkpoint='origin.pth'))
    name_backbone(model, str(tmp_path / 'old.pth'))
    assert model.backbone.checkpoint == 'origin.pth'


@pytest.mark.parametrize('model', [{}, dict(backbone=None), dict(backbone=dict(type='ResNet', pretrained=True))])
def test_models_of_other_backbones_are_left_as_they_are(model, tmp_path):
    changed = ConfigDict(model)
    name_backbone(changed, str(tmp_path / 'none.pth'))
    assert changed == ConfigDict(model)
