"""Layers side by side, and an image seen in windows and whole."""

import pytest
import torch
from torch.nn.functional import interpolate

from dino_plugin.backbones.joined_maps import TimmJoinedMaps

SMALL = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=24, num_heads=2, depth=8)


def maps(**options) -> TimmJoinedMaps:
    torch.manual_seed(0)
    return TimmJoinedMaps(**SMALL, frozen=True, **options)


def test_four_even_layers_stand_side_by_side_as_the_blocks_give_them():
    joined, images = maps(), torch.randn(2, 3, 24, 40)
    assert (joined.out_indices, joined.out_channels) == ([1, 3, 5, 7], (96,))
    (found,) = joined(images)
    model = joined.backbone.model
    tokens, expected = model.patch_drop(model._pos_embed(model.patch_embed(images))), []
    for number, block in enumerate(model.blocks):
        tokens = block(tokens)
        if number in joined.out_indices:
            expected.append(tokens[:, 1:].transpose(1, 2).unflatten(2, (3, 5)))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_windows_are_images_of_their_own_beside_the_whole_image():
    joined, images = maps(windows=2), torch.randn(2, 3, 48, 32)
    (found,) = joined(images)
    assert joined.out_channels == (192,) and found.shape == (2, 192, 6, 4)
    alone = maps()
    for row in range(2):
        for column in range(2):
            window = images[:, :, 24 * row : 24 * row + 24, 16 * column : 16 * column + 16]
            place = found[:, :96, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
            torch.testing.assert_close(place, alone(window)[0], rtol=1e-4, atol=1e-5)
    whole = interpolate(images, (24, 16), mode='bilinear', antialias=True)
    expected = interpolate(alone(whole)[0], (6, 4), mode='bilinear')
    torch.testing.assert_close(found[:, 96:], expected, rtol=1e-4, atol=1e-5)


def test_a_size_that_does_not_fit_is_padded_and_the_padding_taken_away():
    (found,) = maps(windows=2)(torch.randn(1, 3, 41, 30))
    assert found.shape == (1, 192, 6, 4) and found.isfinite().all()


def test_kept_maps_are_those_of_the_network_and_it_does_not_run_again():
    joined, images = maps(keep=2), torch.randn(3, 3, 16, 16)
    first = joined(images)[0]
    torch.testing.assert_close(first, maps()(images)[0], rtol=1e-4, atol=1e-5)
    joined.backbone.model.blocks[0].mlp.fc1.weight.data.zero_()
    again = joined(images[[1, 0, 2]])[0]
    assert torch.equal(again[:2], first[[1, 0]])
    assert not torch.allclose(again[2], first[2]), 'more than are kept'


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match='windows=0 is a number from 1 on'):
        maps(windows=0)
    with pytest.raises(ValueError, match='as a convolutional one; the network is resnet10t'):
        TimmJoinedMaps(model_name='resnet10t', out_indices=(2, 3), windows=2)
    with pytest.raises(ValueError, match='keep is for a network that does not train'):
        TimmJoinedMaps(**SMALL, keep=2)
