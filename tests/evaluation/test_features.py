"""Features: what is taken from the tokens, the order of the images, and a network that is left as it was."""

import pytest
import torch

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.views import Tokens
from dino_plugin.data.views.normalisation import IMAGENET_MEAN_LEVELS, IMAGENET_STD_LEVELS
from dino_plugin.evaluation.features.extraction import extract_features, pool


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return TimmBackbone(
        'vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, drop_path_rate=0.5
    )


@pytest.fixture(scope='module')
def images():
    return torch.randint(256, (10, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batches(images, size):
    labels = torch.arange(len(images))
    return list(zip(images.split(size), labels.split(size), [None] * len(images)))


def normalised(images):
    mean, std = torch.tensor(IMAGENET_MEAN_LEVELS), torch.tensor(IMAGENET_STD_LEVELS)
    return ((images - mean) / std).movedim(-1, 1)


def test_class_token_mean_patch_and_both_by_hand():
    tokens = Tokens(torch.tensor([[3.0, 4.0]]), torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]], [[0.0, 4.0]]]]))
    assert pool(tokens, 'class').tolist() == [[3, 4]]
    assert pool(tokens, 'mean').tolist() == [[0, 2]]
    assert torch.allclose(pool(tokens, 'class+mean'), torch.tensor([[0.6, 0.8, 0.0, 1.0]]))
    with pytest.raises(ValueError, match="got 'patches'"):
        pool(tokens, 'patches')


@pytest.mark.parametrize('features', ['class', 'mean', 'class+mean'])
def test_every_image_gets_its_own_features_in_order_whatever_the_batches(backbone, images, features):
    found, labels = extract_features(backbone, batches(images, 4), features)  # the last batch has two images
    assert labels.tolist() == list(range(10))
    with torch.no_grad(), evaluation_mode(backbone):
        alone = torch.cat([pool(backbone(image[None]), features) for image in normalised(images)])
    assert torch.allclose(found, alone, atol=1e-5)
    assert found.dtype == torch.float32


def test_bytes_and_normalised_images_give_the_same_features(backbone, images):
    from_bytes, _ = extract_features(backbone, batches(images, 5))
    from_floats, _ = extract_features(backbone, batches(normalised(images), 5))
    assert torch.allclose(from_bytes, from_floats, atol=1e-5)


def test_batches_of_images_and_labels_alone_will_do(backbone, images):
    pairs = [batch[:2] for batch in batches(images, 5)]
    assert torch.equal(extract_features(backbone, pairs)[0], extract_features(backbone, batches(images, 5))[0])


def test_each_part_of_the_network_returns_to_its_own_mode(backbone, images):
    backbone.train()
    backbone.model.norm.eval()
    modes = {name: part.training for name, part in backbone.named_modules()}
    extract_features(backbone, batches(images, 5))
    assert {name: part.training for name, part in backbone.named_modules()} == modes
    with pytest.raises(ZeroDivisionError), evaluation_mode(backbone):
        assert not any(part.training for part in backbone.modules())
        raise ZeroDivisionError
    assert {name: part.training for name, part in backbone.named_modules()} == modes


def test_batch_statistics_are_neither_used_nor_changed(images):
    network = TimmBackbone('resnet10t').train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    whole, _ = extract_features(network, batches(images, 10))
    parts, _ = extract_features(network, batches(images, 3))
    assert torch.allclose(whole, parts, atol=1e-4)
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_autocast_changes_the_precision_of_the_network_and_not_the_type_of_the_features(backbone, images):
    exact, _ = extract_features(backbone, batches(images, 10))
    half, _ = extract_features(backbone, batches(images, 10), autocast_dtype=torch.bfloat16)
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert torch.nn.functional.cosine_similarity(half, exact).min() > 0.99


@pytest.mark.parametrize(('features', 'width'), [('class', 16), ('class+mean', 32)])
def test_a_process_without_images_gets_no_rows_of_the_right_width(backbone, features, width):
    found, labels = extract_features(backbone, [], features)
    assert found.shape == (0, width)
    assert labels.shape == (0,)


def test_features_can_feed_a_trainable_layer(backbone, images):
    found, _ = extract_features(backbone, batches(images, 5))
    layer = torch.nn.Linear(16, 2)
    layer(found).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
