"""The files that the authors published say by their shapes which network they hold; others are not guessed at."""

import pytest
import timm
import torch
from networks import photographs, random_network, randomised
from safetensors.torch import save_file
from torch import Tensor

from dino_plugin.engine.evaluating.feature_extractor import FeatureExtractor
from dino_plugin.export.tensors import in_format
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.networks.published_models import published_description
from dino_plugin.weights.safe_loading import load_checkpoint

# Of the tables in the authors' repositories, with the image size of their position embeddings.
PUBLISHED = {
    'vit_tiny_patch16_224': 224,
    'vit_small_patch8_224': 224,
    'vit_base_patch16_224': 224,
    'vit_large_patch16_224': 224,
    'vit_small_patch14_dinov2': 518,
    'vit_giant_patch14_dinov2': 518,
    'vit_base_patch14_reg4_dinov2': 518,
    'vit_giant_patch14_reg4_dinov2': 518,
    'vit_small_patch16_dinov3': None,
    'vit_small_patch16_dinov3_qkvb': None,
    'vit_small_plus_patch16_dinov3_qkvb': None,
    'vit_large_patch16_dinov3': None,
    'vit_huge_plus_patch16_dinov3': None,
    'vit_7b_patch16_dinov3': None,
    'resnet50': None,
    'convnext_tiny': None,
    'convnext_small': None,
    'convnext_base': None,
    'convnext_large': None,
}


def description_of(path):
    return backbone_description(load_checkpoint(path), path)


def state_of(name: str, **arguments) -> dict[str, Tensor]:
    """Ones in the shapes of a timm model, in no memory to speak of."""
    with torch.device('meta'):
        model = timm.create_model(name, num_classes=0, **arguments)
    return {key: torch.ones(()).expand(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_published_model_is_recognised_with_the_size_of_its_positions(name):
    size = PUBLISHED[name]
    expected = {'model_name': name, 'timm_arguments': {} if size is None else {'img_size': size}}
    assert published_description(state_of(name)) == expected


def test_positions_of_another_image_size_are_told_apart():
    state = state_of('vit_small_patch14_reg4_dinov2', img_size=224)
    found = published_description(state)
    assert found == {'model_name': 'vit_small_patch14_reg4_dinov2', 'timm_arguments': {'img_size': 224}}


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('vit_small_patch16_224', dict(depth=11)),
        ('vit_small_patch16_224', dict(embed_dim=390)),
        ('vit_small_patch16_224', dict(mlp_ratio=3)),
        ('vit_small_patch16_224', dict(in_chans=1)),
        ('vit_small_patch16_224', dict(patch_size=12)),
        ('vit_small_patch16_224', dict(img_size=(224, 112))),
        ('vit_small_patch16_224', dict(class_token=False, global_pool='avg')),
        ('vit_small_patch14_dinov2', dict(patch_size=16)),
        ('vit_small_patch14_dinov2', dict(reg_tokens=3)),
        ('vit_tiny_r_s16_p8_224', {}),
        ('resnet26', {}),
        ('resnet101', {}),
    ],
)
def test_what_is_not_published_is_not_guessed_at(name, arguments):
    assert published_description(state_of(name, **arguments)) is None


def test_a_missing_or_additional_tensor_makes_it_another_network():
    state = state_of('vit_small_patch16_224')
    assert published_description(state | {'head.weight': torch.ones(1)}) is None
    del state['blocks.3.norm2.bias']
    assert published_description(state) is None
    assert published_description({'pos_embed': torch.ones(3), 'patch_embed.proj.weight': torch.ones(3)}) is None


def test_the_released_dino_vit_small_is_evaluated_without_naming_it(tmp_path):
    """What `tools/test.py CONFIG dino_deitsmall16_pretrain.pth` builds."""
    torch.save(state_of('vit_small_patch16_224'), tmp_path / 'dino_deitsmall16_pretrain.pth')
    path = str(tmp_path / 'dino_deitsmall16_pretrain.pth')
    model = FeatureExtractor(dict(type='dino_plugin.TimmBackbone', checkpoint=path)).eval()
    assert model.backbone.description['model_name'] == 'vit_small_patch16_224'
    with torch.no_grad():
        assert model(photographs()).shape == (10, 384)
    assert (model.backbone.model.norm.weight == 1).all()


@pytest.mark.parametrize(
    ('name', 'format'),
    [
        ('vit_tiny_patch16_224', 'original'),
        ('vit_tiny_patch16_224', 'huggingface'),
        ('vit_tiny_patch16_224', 'mmpretrain'),
        ('vit_small_patch14_reg4_dinov2', 'original'),
        ('vit_small_patch14_reg4_dinov2', 'huggingface'),
        ('vit_small_patch16_dinov3_qkvb', 'original'),
        ('vit_small_patch16_dinov3_qkvb', 'huggingface'),
    ],
)
def test_a_file_is_recognised_in_every_layout(tmp_path, name, format):
    save_file(in_format(randomised(timm.create_model(name, num_classes=0)), format).state, tmp_path / 'a.safetensors')
    assert description_of(tmp_path / 'a.safetensors')['model_name'] == name


def test_a_training_checkpoint_of_ours_that_does_not_say_is_not_guessed_at(tmp_path):
    state = {f'distillation.teacher.backbone.model.{k}': v for k, v in state_of('vit_small_patch16_224').items()}
    torch.save({'state_dict': state}, tmp_path / 'epoch_1.pth')
    assert description_of(tmp_path / 'epoch_1.pth') is None


def test_what_the_file_beside_an_export_says_comes_before_any_guess(tmp_path):
    save_file(random_network('plain').state_dict(), tmp_path / 'a.safetensors')
    assert description_of(tmp_path / 'a.safetensors') is None
    (tmp_path / 'a.json').write_text('{"model_name": "vit_tiny_patch16_224", "timm_arguments": {"depth": 2}}')
    expected = {'model_name': 'vit_tiny_patch16_224', 'timm_arguments': {'depth': 2}}
    assert description_of(tmp_path / 'a.safetensors') == expected
    (tmp_path / 'a.json').write_text('{"model_na')
    with pytest.raises(ValueError, match=r'a\.json is not JSON .*export it again'):
        description_of(tmp_path / 'a.safetensors')
    (tmp_path / 'a.json').write_text('[1]')
    assert description_of(tmp_path / 'a.safetensors') is None
