"""What the network sees of an image: whole patches, its proportions, nothing endless."""

import numpy as np
import pytest
import torch

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.evaluation.attention.images import attention_of_image, heads_of_image


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)


def image_of(*size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    'size, grid',
    [
        ((60, 60), (4, 4)),
        ((60, 91), (4, 6)),
        ((91, 60), (6, 4)),
        ((7, 5), (5, 4)),
        ((20, 200), (1, 15)),
        ((20, 80), (4, 16)),
    ],
)
def test_an_image_of_any_size_keeps_its_proportions_in_whole_patches(backbone, size, grid):
    """Shorter side 32, patches of 8; the longer side is at most four times that."""
    (block,) = attention_of_image(backbone, image_of(*size), short_side=32)
    assert block.grid == grid


def test_an_image_like_a_thread_is_refused(backbone):
    with pytest.raises(ValueError, match=r'an image of 1 x 500 pixels .* is too long'):
        attention_of_image(backbone, image_of(1, 500), short_side=32)


def test_heads_of_all_blocks_and_of_some_have_their_names(backbone):
    every = heads_of_image(backbone, image_of(40, 40), short_side=32)
    last = heads_of_image(backbone, image_of(40, 40), [-1], short_side=32)
    assert every.names == ['0.0', '0.1', '1.0', '1.1'] and last.names == ['1.0', '1.1']
    assert torch.equal(every.maps[2:], last.maps)
    assert every.attended_distances is None
    assert heads_of_image(backbone, image_of(40, 40), attended_distances=True).attended_distances.shape == (4,)


def test_the_brightness_the_network_sees_is_that_of_the_preprocessor(backbone):
    image = image_of(40, 40)
    same = attention_of_image(backbone, image, short_side=32)[0].keys
    halved = attention_of_image(
        backbone, image, short_side=32, preprocessor=lambda batch: dict(images=batch[0].movedim(-1, 1) / 255.0)
    )[0].keys
    assert not torch.allclose(same, halved)
    half = attention_of_image(backbone, image, short_side=32, autocast_dtype=torch.bfloat16)[0].keys
    assert half.dtype == torch.bfloat16
