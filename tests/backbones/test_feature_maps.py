import pytest
import torch
from test_timm_backbone import NETWORKS, SMALL_VIT, TRANSFORMERS
from torch import nn
from torch.nn.functional import interpolate, pad

from dino_plugin.backbones.feature_maps import BatchNormMaps, TimmFeatureMaps
from dino_plugin.backbones.timm_backbone import TimmBackbone


def make(kind, **changes):
    torch.manual_seed(0)
    name, arguments = NETWORKS[kind]
    return TimmFeatureMaps(model_name=name, **{**arguments, **changes}).eval()


@pytest.mark.parametrize('kind', list(NETWORKS))
def test_the_last_map_is_the_backbones_patches(kind):
    maps = make(kind)
    images = torch.randn(2, 3, 32, 64)
    (features,) = maps(images)
    torch.testing.assert_close(features, maps.backbone(images).patches.permute(0, 3, 1, 2))


@pytest.mark.parametrize('kind', TRANSFORMERS)
def test_earlier_maps_are_the_blocks_outputs_normalised(kind):
    maps = make(kind, out_indices=(1, 0))
    seen = []
    maps.backbone.model.blocks[0].register_forward_hook(lambda block, inputs, output: seen.append(output))
    images = torch.randn(2, 3, 32, 48)
    last, first = maps(images)
    model = maps.backbone.model
    tokens = model.norm(seen[0])[:, model.num_prefix_tokens :]
    torch.testing.assert_close(first, tokens.unflatten(1, (4, 6)).permute(0, 3, 1, 2))
    assert torch.equal(last, make(kind)(images)[0])


def test_the_class_token_is_joined_to_each_cell():
    images = torch.randn(2, 3, 32, 48)
    plain, joined = make('registers')(images)[0], make('registers', class_token=True)(images)[0]
    tokens = make('registers').backbone(images)
    assert torch.equal(joined[:, 24:], plain)
    for row in range(4):
        for column in range(6):
            torch.testing.assert_close(joined[:, :24, row, column], tokens.class_token)


class Ramp(nn.Module):
    """A network whose map tells where in the image each patch's centre is, in pixels."""

    num_prefix_tokens = 0

    def forward_intermediates(self, images, **_):
        rows, columns = images.shape[2] // 8, images.shape[3] // 8
        y = (torch.arange(rows).float() + 0.5) * 8
        x = (torch.arange(columns).float() + 0.5) * 8
        places = torch.stack(torch.meshgrid(y, x, indexing='ij'), dim=-1)
        return [places.flatten(0, 1).expand(len(images), -1, -1)]


@pytest.mark.parametrize('size', [(32, 40), (33, 40), (36, 63), (25, 71)])
def test_maps_cover_the_image_and_not_its_padding(size):
    """Resized to the image, as decoders do, a map of positions says at each pixel where that pixel is."""
    maps = make('plain', out_indices=(0,))
    maps.backbone.model = Ramp()
    (features,) = maps(torch.zeros(1, 3, *size))
    at_pixels = interpolate(features, size, mode='bilinear')
    y = torch.arange(size[0]).float()[:, None] + 0.5
    x = torch.arange(size[1]).float()[None] + 0.5
    inside = (slice(12, -12), slice(12, -12))  # outside of the outermost patches' centres nothing can be told
    torch.testing.assert_close(at_pixels[0, 0][inside], y.expand(size)[inside], atol=0.02, rtol=0)
    torch.testing.assert_close(at_pixels[0, 1][inside], x.expand(size)[inside], atol=0.02, rtol=0)


@pytest.mark.parametrize('kind', TRANSFORMERS)
def test_a_multiple_of_the_patch_is_not_sampled_anew_and_any_size_works(kind):
    maps = make(kind)
    images = torch.randn(1, 3, 32, 48)
    padded = pad(images, (0, 0, 0, 3))
    assert torch.equal(maps(images)[0].permute(0, 2, 3, 1), maps.backbone(images).patches)
    assert maps(padded)[0].shape[2:] == (5, 6)
    assert maps(torch.randn(1, 3, 5, 70))[0].shape[2:] == (1, 9)


def test_a_frozen_network_has_no_gradients_and_stays_in_evaluation():
    maps = make('plain', frozen=True, drop_path_rate=0.5)
    maps.train()
    images = torch.randn(2, 3, 32, 32)
    assert not any(module.training for module in maps.modules())
    assert torch.equal(maps(images)[0], maps(images)[0])
    assert not maps(images)[0].requires_grad
    assert not any(parameter.requires_grad for parameter in maps.parameters())


def test_a_trainable_network_has_gradients_and_drops_paths():
    maps = make('plain', drop_path_rate=0.5)
    maps.train()
    images = torch.randn(8, 3, 32, 32)
    assert not torch.equal(maps(images)[0], maps(images)[0])
    maps(images)[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in maps.backbone.model.blocks.parameters())


def test_weights_come_from_a_checkpoint_that_has_to_fit(tmp_path):
    network = TimmBackbone('vit_tiny_patch16_224', **SMALL_VIT)
    torch.save(network.model.state_dict(), tmp_path / 'backbone.pth')
    maps = make('plain', checkpoint=str(tmp_path / 'backbone.pth'))
    assert all(map(torch.equal, maps.backbone.parameters(), network.parameters()))
    with pytest.raises(ValueError, match=r'backbone\.pth does not fit the model(.|\n)*blocks\.2\.norm1'):
        make('plain', checkpoint=str(tmp_path / 'backbone.pth'), depth=3)
    with pytest.raises(ValueError, match=r'init_cfg=.* is not accepted; give the weights by checkpoint=PATH'):
        make('plain', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth')))


@pytest.mark.parametrize('indices', [(), (2,), (0, -2), (-3,), 'pyramid', 'fourths'])
def test_layers_that_do_not_exist_or_come_twice_are_refused(indices):
    message = (
        "one or more different layers of 0 to 1, or 'pyramid' or 'even', which need four; vit_tiny_patch16_224 has 2"
    )
    with pytest.raises(ValueError, match=message):
        make('plain', out_indices=indices)


@pytest.mark.parametrize(
    ('depth', 'layers'), [(4, [0, 1, 2, 3]), (12, [3, 5, 7, 11]), (24, [7, 11, 15, 23]), (40, [12, 19, 26, 39])]
)
def test_a_pyramid_of_a_transformer_is_beits_choice_of_layers(depth, layers):
    maps = make('plain', out_indices='pyramid', depth=depth)
    assert maps.out_indices == layers
    images = torch.randn(1, 3, 16, 24)
    expected = make('plain', out_indices=layers, depth=depth)(images)
    assert all(map(torch.equal, maps(images), expected))


def test_a_pyramid_of_a_convolutional_network_is_its_last_four_stages():
    maps = make('convnet', out_indices='pyramid')
    assert [32 // features.shape[2] for features in maps(torch.randn(1, 3, 32, 64))] == [4, 8, 16, 32]


@pytest.mark.parametrize('kind', list(NETWORKS))
@pytest.mark.parametrize('arguments', [{}, dict(class_token=True), dict(out_indices=(1, 0))])
def test_the_widths_are_those_of_the_maps(kind, arguments):
    maps = make(kind, **arguments)
    found = maps(torch.randn(1, 3, 32, 32))
    assert maps.out_channels == tuple(features.shape[1] for features in found)


def test_batch_norm_of_maps_gives_each_channel_mean_0_and_variance_1():
    neck = BatchNormMaps(channels=(3, 5))
    maps = (torch.randn(4, 3, 6, 7) * 3 + 2, torch.randn(4, 5, 3, 4) - 1)
    for features in neck(maps):
        torch.testing.assert_close(features.mean((0, 2, 3)), torch.zeros(features.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            features.var((0, 2, 3), correction=0), torch.ones(features.shape[1]), atol=1e-4, rtol=0
        )
    for wrong, given in ((maps[:1], r'\[3\]'), (maps[::-1], r'\[5, 3\]')):
        with pytest.raises(ValueError, match=rf'maps with {given} channels, but channels=\[3, 5\]'):
            neck(wrong)
