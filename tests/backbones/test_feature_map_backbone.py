"""A network with maps of several stages as a backbone: what its tokens are, and that its file stays its own."""

import pytest
import torch
from feature_map_networks import Stages, trained_stages

from dino_plugin.backbones.feature_map_backbone import FeatureMapBackbone
from dino_plugin.core.views import ClassTokenOnly


@pytest.mark.parametrize(
    ('form', 'output', 'stage', 'stride'),
    [('tuple', -1, 2, 16), ('tuple', 0, 0, 4), ('dict', 'dark3', 1, 8), ('dict', -1, 2, 16), ('map', -1, 2, 16)],
)
def test_patches_are_the_chosen_map_and_the_class_token_is_its_mean(form, output, stage, stride):
    backbone = FeatureMapBackbone(trained_stages(form=form), output)
    images = torch.randn(2, 3, 3, 64, 32)
    tokens = backbone(images)
    for view in range(2):
        expected = trained_stages()(images[view])[stage]
        assert expected.shape[2:] == (64 // stride, 32 // stride)
        torch.testing.assert_close(tokens.patches[view], expected.permute(0, 2, 3, 1))
        torch.testing.assert_close(tokens.class_token[view], expected.mean((2, 3)))
    assert (backbone.embed_dim, backbone.in_channels) == (16 * 2**stage, 3)


def test_to_find_its_width_the_network_keeps_its_statistics_and_its_mode():
    network = Stages().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    FeatureMapBackbone(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_of_vectors_has_no_patches():
    backbone = FeatureMapBackbone(trained_stages(form='vector'))
    images = torch.randn(2, 3, 32, 32)
    tokens = backbone(images)
    assert isinstance(tokens, ClassTokenOnly)
    torch.testing.assert_close(tokens.class_token, trained_stages()(images)[-1].mean((2, 3)))


def test_a_file_of_the_network_is_loaded_under_its_own_names(tmp_path):
    torch.save(trained_stages().state_dict(), tmp_path / 'plain.pth')
    torch.save({'state_dict': trained_stages().state_dict()}, tmp_path / 'mmdet.pth')
    for name in ('plain.pth', 'mmdet.pth'):
        loaded = FeatureMapBackbone(Stages(), checkpoint=str(tmp_path / name)).eval()
        images = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(loaded(images).patches, FeatureMapBackbone(trained_stages())(images).patches)
    with pytest.raises(ValueError, match=r'plain\.pth does not fit Stages'):
        FeatureMapBackbone(Stages(width=12), checkpoint=str(tmp_path / 'plain.pth'))


def test_what_is_no_map_is_refused():
    with pytest.raises(TypeError, match='Stages gives str; expected a map'):
        FeatureMapBackbone(Stages(form='text'))
    with pytest.raises(ValueError, match=r"output='dark9' is none of the outputs: \['dark2', 'dark3', 'dark4'\]"):
        FeatureMapBackbone(Stages(form='dict'), 'dark9')
    with pytest.raises(ValueError, match='output=3 is none of the outputs: positions below 3'):
        FeatureMapBackbone(Stages(), 3)
    with pytest.raises(ValueError, match='no mask token'):
        FeatureMapBackbone(Stages())(torch.randn(1, 3, 32, 32), masks=torch.zeros(1, 2, 2, dtype=torch.bool))
