import pytest
import timm
import torch
from torch.nn.functional import pad

from dino_plugin.backbones.pre_norm_blocks import _compiled
from dino_plugin.backbones.timm_backbone import TimmBackbone

SMALL_VIT = {'embed_dim': 24, 'depth': 2, 'num_heads': 2, 'patch_size': 8, 'img_size': 32}
NETWORKS = {
    'plain': ('vit_tiny_patch16_224', SMALL_VIT),
    'registers': ('vit_small_patch14_reg4_dinov2', {**SMALL_VIT, 'init_values': 1e-5}),
    'rope': ('vit_small_patch16_dinov3', SMALL_VIT),
    'average pooled': ('vit_tiny_patch16_224', {**SMALL_VIT, 'class_token': False, 'global_pool': 'avg'}),
    'hybrid': ('vit_tiny_r_s16_p8_224', {**SMALL_VIT, 'embed_dim': 32, 'patch_size': 2}),
    'convnet': ('resnet10t', {}),
}
TRANSFORMERS = ['plain', 'registers', 'rope', 'average pooled', 'hybrid']


def make(kind, **changes):
    torch.manual_seed(0)
    name, arguments = NETWORKS[kind]
    return TimmBackbone(name, **{**arguments, **changes})


@pytest.mark.parametrize('kind', TRANSFORMERS)
def test_tokens_are_timms_own_in_the_order_of_the_image(kind):
    backbone = make(kind).eval()
    images = torch.randn(2, 3, 32, 48)
    tokens = backbone(images)
    raw = backbone.model.forward_features(images)
    prefix = backbone.model.num_prefix_tokens
    assert tokens.patches.shape == (2, 4, 6, backbone.embed_dim)
    assert torch.equal(tokens.patches.flatten(1, 2), raw[:, prefix:])
    assert torch.equal(tokens.class_token, raw[:, 0] if prefix else backbone.model.forward_head(raw))


def test_a_convnet_gives_its_map_and_its_pooled_features():
    backbone = make('convnet').eval()
    images = torch.randn(2, 3, 64, 96)
    tokens = backbone(images)
    torch.testing.assert_close(tokens.class_token, backbone.model(images))
    torch.testing.assert_close(tokens.class_token, tokens.patches.mean((1, 2)))
    assert tokens.patches.shape == (2, 2, 3, backbone.embed_dim)


@pytest.mark.parametrize('kind', list(NETWORKS))
def test_leading_axes_change_nothing(kind):
    backbone = make(kind).eval()
    images = torch.randn(2, 3, 3, 32, 32)
    together = backbone(images)
    for view in range(2):
        torch.testing.assert_close(together.class_token[view], backbone(images[view]).class_token)
        torch.testing.assert_close(together.patches[view, 1], backbone(images[view, 1]).patches)


@pytest.mark.parametrize('kind', TRANSFORMERS)
@pytest.mark.parametrize('size', [(32, 32), (30, 33), (5, 70)])
def test_any_size_is_padded_to_the_patch_at_the_bottom_and_right(kind, size):
    backbone = make(kind).eval()
    images = torch.randn(1, 3, *size)
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    padded = pad(images, (0, columns * 8 - size[1], 0, rows * 8 - size[0]))
    assert torch.equal(backbone(images).patches, backbone(padded).patches)
    assert backbone(images).patches.shape[1:3] == (rows, columns)


@pytest.mark.parametrize('kind', list(NETWORKS))
def test_other_numbers_of_channels_work_and_a_mismatch_names_the_cure(kind):
    assert make(kind, in_chans=5)(torch.randn(2, 5, 32, 32)).class_token.isfinite().all()
    with pytest.raises(ValueError, match=r'images of 4 channels for a network of 3; build it with in_chans=4'):
        make(kind)(torch.randn(1, 4, 32, 32))


@pytest.mark.parametrize('kind', list(NETWORKS))
def test_every_parameter_gets_a_gradient_from_the_class_token(kind):
    """DistributedDataParallel stops at the first parameter that does not."""
    backbone = make(kind)
    tokens = [backbone(torch.randn(4, 3, size, size)).class_token for size in (32, 16)]
    (tokens[0].square().sum() + tokens[1].sum()).backward()
    without = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize('kind', ['plain', 'rope', 'convnet'])
def test_gradient_checkpointing_changes_no_gradient(kind):
    plain, recomputed = make(kind), make(kind, gradient_checkpointing=True)
    images = torch.randn(2, 3, 32, 32)
    for backbone in (plain, recomputed):
        backbone(images).class_token.square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize(('kind', 'compiled'), [('plain', 2), ('convnet', 1)])
def test_the_compile_switch_reaches_each_block(kind, compiled):
    backbone = make(kind, compile_blocks=True)
    assert sum(module._compiled_call_impl is not None for module in backbone.modules()) == compiled


@pytest.mark.parametrize(('given', 'mode'), [(True, None), ('reduce-overhead', 'reduce-overhead')])
def test_a_string_is_the_mode_of_compilation(given, mode, monkeypatch):
    modes = []
    monkeypatch.setattr(torch, 'compile', lambda function, mode=None: modes.append(mode) or function)
    backbone = make('plain', compile_blocks=given)
    _compiled.cache_clear()  # of other tests in this process
    backbone(torch.randn(2, 3, 32, 32), patches=False)
    _compiled.cache_clear()
    assert modes == [mode] * 4, 'two blocks for timm itself, all blocks but the last, the last one for the class token'


def test_timm_arguments_arrive():
    rates = {m.drop_prob for m in make('plain', drop_path_rate=0.1).modules() if hasattr(m, 'drop_prob')}
    assert max(rates) == pytest.approx(0.1)


def test_a_backbone_starts_from_a_saved_one_and_refuses_another_architecture(tmp_path):
    source = make('plain')
    torch.save(source.model.state_dict(), tmp_path / 'backbone.pth')
    torch.manual_seed(1)
    name, arguments = NETWORKS['plain']
    loaded = TimmBackbone(name, checkpoint=str(tmp_path / 'backbone.pth'), **arguments)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(ValueError, match='missing'):
        TimmBackbone(name, checkpoint=str(tmp_path / 'backbone.pth'), **{**arguments, 'depth': 3})
    TimmBackbone(name, checkpoint=str(tmp_path / 'backbone.pth'), allow_mismatch=True, **{**arguments, 'depth': 3})


def test_bad_names_and_two_sources_of_weights_are_refused():
    with pytest.raises(ValueError, match='timm has no model'):
        TimmBackbone('vit_enormous')
    with pytest.raises(ValueError, match='two sources of weights'):
        TimmBackbone('resnet10t', pretrained=True, checkpoint='x.pth')
    with pytest.raises(ValueError, match=r"resnet10t has no argument 'in_channels'.*in_chans"):
        TimmBackbone('resnet10t', in_channels=1)
    with pytest.raises(ValueError, match=r"no argument 'checkpoints'.*checkpoint"):
        TimmBackbone('vit_tiny_patch16_224', checkpoints='x.pth')
    with pytest.raises(ValueError, match=r'timm cannot build .*divisible by num_heads'):
        TimmBackbone('vit_tiny_patch16_224', num_heads=5)


def test_pretrained_may_be_a_path_and_nothing_else_than_a_path_or_a_bool(tmp_path):
    """`EncoderDecoder(pretrained=PATH)` hands it to the backbone."""
    source = make('plain')
    name, arguments = source.description['model_name'], source.description['timm_arguments']
    torch.save({'state_dict': source.model.state_dict(), 'meta': {'backbone': source.description}}, tmp_path / 'a.pth')
    loaded = TimmBackbone(pretrained=str(tmp_path / 'a.pth'))
    assert all(map(torch.equal, loaded.parameters(), source.parameters()))
    TimmBackbone(name, pretrained=None, **arguments)
    for other in ('False', 'true', 'None'):
        with pytest.raises(TypeError, match=r"pretrained=.*expected True for timm's weights, False, or a file"):
            TimmBackbone(name, pretrained=other, **arguments)
    with pytest.raises(ValueError, match='two sources of weights'):
        TimmBackbone(name, pretrained=str(tmp_path / 'a.pth'), checkpoint='b.pth')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        TimmBackbone(name, pretrained='gone.pth')


@pytest.mark.parametrize('way', ['init_cfg', 'checkpoint_path', 'pretrained_cfg', 'pretrained_cfg_overlay'])
def test_other_ways_to_load_weights_are_refused_with_the_right_one(way):
    with pytest.raises(ValueError, match=rf'{way}=.* is not accepted; give the weights by checkpoint=PATH'):
        TimmBackbone('vit_tiny_patch16_224', **{way: {'file': 'a.pth'}})
    assert way not in TimmBackbone('vit_tiny_patch16_224', **{way: None}).description['timm_arguments']


def test_the_networks_above_are_the_kinds_they_claim_to_be():
    assert type(make('rope').model).__name__ == 'Eva'
    assert make('registers').model.num_prefix_tokens == make('rope').model.num_prefix_tokens == 5
    assert timm.is_model('resnet50')


def test_without_a_name_the_checkpoint_says_what_network_it_holds(tmp_path):
    network = make('plain')
    torch.save(
        {'state_dict': network.model.state_dict(), 'meta': {'backbone': network.description}}, tmp_path / 'a.pth'
    )
    torch.save(network.model.state_dict(), tmp_path / 'unnamed.pth')
    again = TimmBackbone(checkpoint=str(tmp_path / 'a.pth'), drop_path_rate=0.1)
    assert again.description == {
        'model_name': 'vit_tiny_patch16_224',
        'timm_arguments': {**SMALL_VIT, 'drop_path_rate': 0.1},
    }
    assert all(map(torch.equal, again.parameters(), network.parameters()))
    with pytest.raises(ValueError, match=r'unnamed\.pth does not say which network it holds. Name it'):
        TimmBackbone(checkpoint=str(tmp_path / 'unnamed.pth'))
    with pytest.raises(
        ValueError, match=r'there is no checkpoint.*model\.backbone\.checkpoint=FILE.*model_name=vit_small'
    ):
        TimmBackbone()


@pytest.mark.parametrize(
    ('name', 'arguments', 'last', 'norm'),
    [
        ('vit_tiny_patch16_224', dict(depth=3), 'blocks.2.', 'norm.'),
        ('vit_small_patch16_dinov3', dict(depth=3), 'blocks.2.', 'norm.'),
        ('vit_tiny_patch16_224', dict(depth=3, global_pool='avg', class_token=False), 'blocks.2.', 'fc_norm.'),
        ('convnext_atto', dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)), 'stages.3.', 'head.norm.'),
        ('resnet10t', dict(), 'layer4.0.', None),
    ],
)
def test_the_last_norm_is_at_the_output_and_the_last_block_one_layer_away(name, arguments, last, norm):
    """As BEiT and DINOv2 count for the layer decay."""
    distances = TimmBackbone(name, **arguments).layers_to_output()
    assert {distance for key, distance in distances.items() if key.startswith(f'model.{last}')} == {1}
    at_output = {key for key, distance in distances.items() if distance == 0 and key.startswith('model.')}
    assert at_output == (set() if norm is None else {f'model.{norm}weight', f'model.{norm}bias'})
    assert set(distances.values()) >= set(range(1, max(distances.values()) + 1))
