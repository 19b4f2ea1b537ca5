"""Attention maps against timm's unfused path, for each kind of transformer; refusals for other networks."""

import pytest
import torch
from networks import randomised
from torch import nn
from torch.nn.functional import pad

from dino_plugin.backbones.attention_maps import attention_of
from dino_plugin.backbones.timm_backbone import TimmBackbone

_TINY = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2)
TRANSFORMERS = {
    'plain': ('vit_tiny_patch16_224', _TINY),
    'layer scale': ('vit_small_patch14_dinov2', _TINY),
    'registers': ('vit_small_patch14_reg4_dinov2', _TINY),
    'two prefix tokens': ('deit_tiny_distilled_patch16_224', _TINY),
    'query and key norm': ('vit_tiny_patch16_224', dict(_TINY, qk_norm=True)),
    'parallel attention and MLP': ('vit_tiny_patch16_224', dict(_TINY, block_fn='ParallelScalingBlock')),
    'rotary, DINOv3': ('vit_small_patch16_dinov3', _TINY),
    'rotary, EVA-02': ('eva02_tiny_patch14_224', _TINY),
    'rotary, learnt frequencies': ('vit_small_patch16_rope_mixed_224', _TINY),
    'rotary, separate projections': ('eva02_base_patch14_224', dict(_TINY, swiglu_mlp=False)),
    'relative positions': ('beit_base_patch16_224', dict(_TINY, img_size=(24, 32))),
}
IMAGES = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def backbone_of(name, arguments):
    arguments = dict(arguments)
    if arguments.pop('block_fn', None):
        from timm.models.vision_transformer import ParallelScalingBlock

        arguments['block_fn'] = ParallelScalingBlock
    backbone = TimmBackbone(name, **arguments)
    randomised(backbone.model)
    return backbone


@torch.no_grad()
def unfused(backbone, images, block):
    """The input of the attention's dropout in timm's unfused path: all probabilities; and what the block returns."""
    block = backbone.model.blocks[block]
    (attention,) = [module for module in block.modules() if hasattr(module, 'fused_attn')]
    found, forward = [], nn.Dropout.forward

    class Watched(nn.Dropout):
        def forward(self, x):
            found.append(x)
            return forward(self, x)

    attention.attn_drop = Watched(0.0)
    attention.fused_attn = False
    backbone.attention_choice.choose_for = lambda images: None
    try:
        backbone.eval()(images)
    finally:
        del backbone.attention_choice.choose_for
    return found[0]


@pytest.mark.parametrize('block', [0, -1])
@pytest.mark.parametrize('kind', TRANSFORMERS)
def test_probabilities_are_those_of_timms_unfused_path(kind, block):
    backbone = backbone_of(*TRANSFORMERS[kind])
    (found,) = attention_of(backbone, IMAGES, [block])
    expected = unfused(backbone, IMAGES, block)
    all_tokens = range(expected.shape[-1])
    assert expected.std() > 1e-3
    torch.testing.assert_close(found.probabilities(all_tokens), expected, rtol=0, atol=1e-6)
    chosen = found.probabilities([5, 0])
    torch.testing.assert_close(chosen, expected[:, :, [5, 0]], rtol=0, atol=1e-6)
    prefix = backbone.model.num_prefix_tokens
    maps = expected[:, :, 0, prefix:].unflatten(-1, (3, 4))
    torch.testing.assert_close(found.class_maps(), maps, rtol=0, atol=1e-6)


def test_values_weighted_by_the_probabilities_are_the_output_of_the_attention():
    backbone = backbone_of(*TRANSFORMERS['rotary, DINOv3'])
    outputs = []
    attention = backbone.model.blocks[1].attn
    attention.proj.register_forward_pre_hook(lambda module, inputs: outputs.append(inputs[0]))
    (found,) = attention_of(backbone, IMAGES, [1])
    joined = found.probabilities(range(found.keys.shape[2])) @ found.values
    torch.testing.assert_close(joined.transpose(1, 2).flatten(2), outputs[0], rtol=0, atol=1e-5)


def test_several_blocks_come_in_the_order_asked_for_and_the_network_is_left_as_it_was():
    backbone = backbone_of(*TRANSFORMERS['registers'])
    before = backbone.eval()(IMAGES)
    backbone.train()
    last, first, last_again = attention_of(backbone, IMAGES, [-1, 0, 2])
    assert backbone.training
    assert torch.equal(last.keys, last_again.keys) and not torch.equal(last.keys, first.keys)
    assert torch.equal(first.keys, attention_of(backbone, IMAGES, [0])[0].keys)
    assert torch.equal(backbone.eval()(IMAGES).patches, before.patches)
    assert all('forward' not in vars(module) for module in backbone.modules())


def test_patch_keys_stand_on_their_grid():
    backbone = backbone_of(*TRANSFORMERS['registers'])
    (found,) = attention_of(backbone, IMAGES)
    keys = found.of_patches(found.keys)
    assert keys.shape[2:4] == (3, 4)
    assert torch.equal(keys[:, :, 2, 1], found.keys[:, :, 1 + 4 + 2 * 4 + 1])


def test_images_that_are_no_whole_number_of_patches_are_padded_at_the_bottom_and_right():
    backbone = backbone_of(*TRANSFORMERS['plain'])
    image = IMAGES[:, :, :21, :27]
    (found,) = attention_of(backbone, image)
    (expected,) = attention_of(backbone, pad(image, (0, 5, 0, 3)))
    assert found.grid == (3, 4)
    assert torch.equal(found.class_maps(), expected.class_maps())


def test_compiled_blocks_and_half_precision_give_the_same_maps():
    name, arguments = TRANSFORMERS['plain']
    (expected,) = attention_of(backbone_of(name, arguments), IMAGES)
    (compiled,) = attention_of(backbone_of(name, dict(arguments, compile_blocks=True)), IMAGES)
    assert torch.equal(compiled.class_maps(), expected.class_maps())
    with torch.autocast('cpu', torch.bfloat16):
        (half,) = attention_of(backbone_of(name, arguments), IMAGES)
    assert half.keys.dtype == torch.bfloat16
    maps = half.class_maps()
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected.class_maps(), rtol=0.3, atol=0.02)


@pytest.mark.parametrize(
    'name, arguments',
    [
        ('cait_xxs24_224', dict(img_size=32, embed_dim=32, depth=1, num_heads=2)),
        ('xcit_nano_12_p8_224', dict(img_size=32, embed_dim=32, depth=1, num_heads=2)),
    ],
)
def test_class_attention_of_cait_and_xcit(name, arguments):
    backbone = TimmBackbone(name, **arguments)
    randomised(backbone.model)
    images = IMAGES[..., :24, :24] if 'cait' not in name else torch.cat([IMAGES, IMAGES[:, :, :8]], 2)
    (found,) = attention_of(backbone, images)
    blocks = getattr(backbone.model, 'cls_attn_blocks', None) or backbone.model.blocks_token_only
    seen = []
    blocks[-1].attn.attn_drop.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    blocks[-1].attn.fused_attn = False
    backbone.attention_choice.choose_for = lambda images: None
    with torch.no_grad():
        backbone.eval()(images)
    torch.testing.assert_close(found.probabilities(), seen[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'name, arguments, words',
    [
        ('resnet18', {}, 'ResNet is a convolutional network or attends within windows'),
        ('swin_tiny_patch4_window7_224', dict(embed_dim=24, depths=(1, 1), num_heads=(1, 2)), 'within windows'),
        ('convit_tiny', dict(embed_dim=12, depth=2, num_heads=4), '0 fused attentions'),
    ],
)
def test_other_networks_are_refused_in_clear_words(name, arguments, words):
    backbone = TimmBackbone(name, **arguments)
    with pytest.raises(ValueError, match=words) as refused:
        attention_of(backbone, torch.zeros(1, 3, 224, 224))
    assert 'vision transformers such as' in str(refused.value)


def test_a_block_that_does_not_exist_is_refused():
    backbone = backbone_of(*TRANSFORMERS['plain'])
    for block in (3, -4):
        with pytest.raises(ValueError, match=f'block {block} does not exist: the network has 3, 0 to 2'):
            attention_of(backbone, IMAGES, [block])


def test_a_network_without_a_class_token_has_keys_but_no_class_maps():
    backbone = TimmBackbone('vit_tiny_patch16_224', **_TINY, class_token=False, global_pool='avg')
    (found,) = attention_of(backbone, IMAGES)
    assert found.of_patches(found.keys).shape == (2, 2, 3, 4, 16)
    with pytest.raises(ValueError, match='no class token'):
        found.class_maps()


@pytest.mark.parametrize('size', [(32, 32), (24, 40)])
@pytest.mark.parametrize('family', ['DINOv2', 'DINOv3'])
def test_attention_is_that_of_transformers(family, size, tmp_path):
    """Hugging Face's networks, whose files TimmBackbone reads; DINOv3 has registers and rotary positions."""
    import transformers

    settings = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
    if family == 'DINOv2':
        config, network = transformers.Dinov2Config, transformers.Dinov2Model
        name, rule = 'vit_small_patch14_dinov2', dict(position_resampling='huggingface')
    else:
        config, network = transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel
        name, rule = 'vit_small_patch16_dinov3', {}
        settings |= dict(num_register_tokens=4, intermediate_size=128)
        settings |= dict(query_bias=False, key_bias=False, value_bias=False)
    theirs = network(config(**settings, attn_implementation='eager'))
    randomised(theirs)
    theirs.save_pretrained(tmp_path)
    backbone = TimmBackbone(name, checkpoint=str(tmp_path), **(_TINY | dict(depth=2) | rule))
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(images, output_attentions=True).attentions
    for block, attention in zip(attention_of(backbone, images, [0, 1]), expected, strict=True):
        torch.testing.assert_close(block.probabilities(range(attention.shape[-1])), attention, rtol=0, atol=1e-5)
