"""Files of other programs load into timm's networks by their keys alone, and mean the same there.

The keys and shapes are written down here as the authors' files have them, only narrower and shallower.
"""

import argparse
import itertools

import pytest
import timm
import torch
import torchvision
from networks import photographs, random_network, randomised, slow_mmpretrain
from safetensors.torch import save_file
from timm.models import convnext, eva, vision_transformer
from torch import Tensor

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.weights.checkpoint import backbone_state
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone

DIM, DEPTH, PATCH, PATCHES, HIDDEN = 32, 2, 8, 16, 128
TINY = dict(img_size=32, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=2)


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) * 0.2 + (len(shape) == 1) for key, shape in shapes.items()}


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (DIM,), f'{name}.bias': (DIM,)}


def transformer(blocks: list[str], mlp: dict, extra: dict, layer_scale: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes that DINO, iBOT, DINOv2 and DINOv3 have in common."""
    shapes = {'cls_token': (1, 1, DIM), 'patch_embed.proj.weight': (DIM, 3, PATCH, PATCH), **extra, **norm('norm')}
    shapes |= {'patch_embed.proj.bias': (DIM,)}
    for block in blocks:
        shapes |= norm(f'{block}.norm1') | norm(f'{block}.norm2')
        shapes |= linear(f'{block}.attn.qkv', DIM, 3 * DIM) | linear(f'{block}.attn.proj', DIM, DIM)
        shapes |= {f'{block}.{key}': shape for key, shape in mlp.items()}
        if layer_scale:
            shapes |= {f'{block}.ls1.gamma': (DIM,), f'{block}.ls2.gamma': (DIM,)}
    return shapes


BLOCKS = ['blocks.0', 'blocks.1']
CHUNKS = ['blocks.0.0', 'blocks.1.1']  # with block_chunks=2
MLP = linear('mlp.fc1', DIM, HIDDEN) | linear('mlp.fc2', HIDDEN, DIM)
SWIGLU = linear('mlp.w12', DIM, 176) | linear('mlp.w3', 88, DIM)
SWIGLU_OF_DINOV3 = linear('mlp.w1', DIM, HIDDEN) | linear('mlp.w2', DIM, HIDDEN) | linear('mlp.w3', HIDDEN, DIM)
POSITION = {'pos_embed': (1, PATCHES + 1, DIM)}
HEAD = linear('mlp.0', DIM, 48) | {'last_layer.weight_g': (64, 1), 'last_layer.weight_v': (64, 48)}


def dino() -> dict[str, tuple[int, ...]]:
    return transformer(BLOCKS, MLP, POSITION)


def dinov2(blocks=BLOCKS, mlp=MLP, registers: int = 0) -> dict[str, tuple[int, ...]]:
    extra = POSITION | {'mask_token': (1, DIM)} | ({'register_tokens': (1, registers, DIM)} if registers else {})
    return transformer(blocks, mlp, extra, layer_scale=True)


def dinov3(mlp=MLP) -> dict[str, tuple[int, ...]]:
    extra = {'storage_tokens': (1, 4, DIM), 'mask_token': (1, DIM), 'rope_embed.periods': (DIM // 8,)}
    if mlp is SWIGLU_OF_DINOV3:
        extra |= norm('local_cls_norm')  # of the largest
    return transformer(BLOCKS, mlp, extra, layer_scale=True)


def dinov3_tensors(mlp=MLP) -> dict[str, Tensor]:
    """With the mask that zeroes the bias of the keys; what is under it is anything."""
    state = random_tensors(dinov3(mlp))
    mask = torch.cat([torch.ones(DIM), torch.zeros(DIM), torch.ones(DIM)])
    return state | {f'{block}.attn.qkv.bias_mask': mask.clone() for block in BLOCKS}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def features_from(path, name: str, **arguments) -> Tensor:
    backbone = TimmBackbone(name, checkpoint=str(path), **{**TINY, **arguments}).eval()
    with torch.no_grad():
        return backbone.model.forward_features(photographs())


def timms_features(filter_fn, state: dict[str, Tensor], name: str, **arguments) -> Tensor:
    """By timm's own conversion of the same file."""
    model = timm.create_model(name, num_classes=0, **{**TINY, **arguments}).eval()
    model.load_state_dict(filter_fn(dict(state), model))
    with torch.no_grad():
        return model.forward_features(photographs())


# --- DINO and iBOT ----------------------------------------------------------------------------------------------------


def training_checkpoint_of_dino(teacher: dict[str, Tensor], student: dict[str, Tensor]) -> dict:
    head = random_tensors(HEAD)
    return {
        'student': prefixed('module.backbone.', student) | prefixed('module.head.', head),
        'teacher': prefixed('backbone.', teacher) | prefixed('head.', head),
        'optimizer': {'state': {}, 'param_groups': [{'lr': 0.1}]},
        'epoch': 100,
        'args': argparse.Namespace(arch='vit_small', patch_size=8),
        'fp16_scaler': {'scale': 65536.0},
        'dino_loss': {'center': torch.zeros(1, 64)},
    }


@pytest.mark.parametrize('extra', [{}, {'masked_embed': torch.ones(1, DIM)}])
def test_teacher_and_student_of_a_dino_or_ibot_training_mean_themselves(tmp_path, extra):
    """DINO kept timm's names, so timm is the reference."""
    teacher, student = random_tensors(dino(), 1), random_tensors(dino(), 2)
    torch.save(training_checkpoint_of_dino(teacher | extra, student | extra), tmp_path / 'checkpoint.pth')
    for source, state in (('teacher', teacher), ('student', student)):
        model = timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY).eval()
        model.load_state_dict(state)
        with torch.no_grad():
            expected = model.forward_features(photographs())
        found = features_from(tmp_path / 'checkpoint.pth', 'vit_tiny_patch16_224', checkpoint_source=source)
        assert torch.equal(found, expected)


@pytest.mark.parametrize('wrap', [lambda state: state, lambda state: {'state_dict': state}])
def test_the_released_backbones_of_dino_and_ibot_load(tmp_path, wrap):
    state = random_tensors(dino())
    torch.save(wrap(state | {'masked_embed': torch.ones(1, DIM)}), tmp_path / 'backbone.pth')
    found = backbone_state(load_checkpoint(tmp_path / 'backbone.pth'))
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize('wrap', [dict, lambda state: training_checkpoint_of_dino(state, state)])
def test_dinos_resnet_50_gives_torchvisions_features(tmp_path, wrap):
    theirs = torchvision.models.resnet50(weights=None)
    theirs.fc = torch.nn.Identity()
    torch.save(wrap(theirs.state_dict()), tmp_path / 'resnet50.pth')
    ours = TimmBackbone('resnet50', checkpoint=str(tmp_path / 'resnet50.pth')).eval()
    with torch.no_grad():
        assert torch.allclose(ours(photographs()).class_token, theirs.eval()(photographs()), atol=1e-5)


# --- DINOv2 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'shapes'),
    [
        ('vit_small_patch14_dinov2', dinov2()),
        ('vit_small_patch14_reg4_dinov2', dinov2(registers=4)),
        ('vit_giant_patch14_dinov2', dinov2(mlp=SWIGLU)),
        ('vit_giant_patch14_reg4_dinov2', dinov2(mlp=SWIGLU, registers=4)),
    ],
)
def test_dinov2s_released_backbones_mean_what_timm_says_they_mean(tmp_path, name, shapes):
    state = random_tensors(shapes)
    torch.save(state, tmp_path / 'dinov2.pth')
    arguments = dict(mlp_ratio=176 / DIM) if 'giant' in name else {}
    expected = timms_features(vision_transformer.checkpoint_filter_fn, state, name, **arguments)
    assert torch.equal(features_from(tmp_path / 'dinov2.pth', name, **arguments), expected)


def test_dinov2s_class_token_with_registers_absorbs_its_position():
    state = random_tensors(dinov2(registers=4))
    found = backbone_state(state)
    assert torch.equal(found['cls_token'], state['cls_token'] + state['pos_embed'][:, :1])
    assert torch.equal(found['pos_embed'], state['pos_embed'][:, 1:])
    assert torch.equal(found['reg_token'], state['register_tokens'])


@pytest.mark.parametrize('flat', [False, True])
def test_dinov2s_training_checkpoint_gives_either_network_out_of_its_chunks(flat):
    networks = {name: random_tensors(dinov2(CHUNKS), seed) for seed, name in enumerate(('teacher', 'student'))}
    heads = prefixed('dino_head.', random_tensors(HEAD)) | prefixed('ibot_head.', random_tensors(HEAD))
    full = {name: prefixed('backbone.', state) | heads for name, state in networks.items()}
    if flat:
        full = {'model': {f'{name}.{key}': value for name in full for key, value in full[name].items()}, 'iteration': 9}
    for source, state in networks.items():
        found = backbone_state(full, source)
        expected = {key.replace('0.0', '0').replace('1.1', '1'): value for key, value in state.items()}
        del expected['mask_token']
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


# --- DINOv3 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'mlp'),
    [('vit_small_patch16_dinov3_qkvb', MLP), ('vit_small_plus_patch16_dinov3_qkvb', SWIGLU_OF_DINOV3)],
)
def test_dinov3s_released_backbones_mean_what_timm_says_they_mean(tmp_path, name, mlp):
    state = dinov3_tensors(mlp)
    torch.save(state, tmp_path / 'dinov3.pth')
    expected = timms_features(eva.checkpoint_filter_fn, state, name)
    assert torch.equal(features_from(tmp_path / 'dinov3.pth', name), expected)


def test_the_masked_bias_of_dinov3_is_the_bias_of_timms_attention(tmp_path):
    """The authors' layer: qkv = weight x + bias * bias_mask; an unset bias under the mask may be NaN."""
    state = dinov3_tensors()
    state['blocks.1.attn.qkv.bias'][DIM : 2 * DIM] = torch.nan
    torch.save(state, tmp_path / 'dinov3.pth')
    model = TimmBackbone('vit_small_patch16_dinov3_qkvb', checkpoint=str(tmp_path / 'dinov3.pth'), **TINY).model
    for number in range(DEPTH):
        attention = model.blocks[number].attn
        assert torch.equal(attention.qkv.weight, state[f'blocks.{number}.attn.qkv.weight'])
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        masked = state[f'blocks.{number}.attn.qkv.bias'].nan_to_num() * state[f'blocks.{number}.attn.qkv.bias_mask']
        assert torch.equal(bias, masked)


def test_a_bias_of_keys_that_is_not_masked_is_refused(tmp_path):
    """It matters under rotation, and timm has no place for it."""
    state = dinov3_tensors()
    state['blocks.1.attn.qkv.bias_mask'][:] = 1
    torch.save(state, tmp_path / 'dinov3.pth')
    with pytest.raises(ValueError, match=r'dinov3\.pth.*\n.*\n.*blocks\.1\.attn\.qkv\.bias \(96,\)'):
        features_from(tmp_path / 'dinov3.pth', 'vit_small_patch16_dinov3_qkvb')


def test_biases_may_be_missing_from_the_model_only_if_they_are_zero(tmp_path):
    state = dinov3_tensors()
    torch.save(state, tmp_path / 'biased.pth')
    with pytest.raises(ValueError, match=r'biased\.pth.*0 missing, 4 unexpected'):
        features_from(tmp_path / 'biased.pth', 'vit_small_patch16_dinov3')
    state |= {f'{block}.attn.qkv.bias': torch.zeros(3 * DIM) for block in BLOCKS}
    torch.save(state, tmp_path / 'zeros.pth')
    with_biases = features_from(tmp_path / 'zeros.pth', 'vit_small_patch16_dinov3_qkvb')
    assert torch.equal(features_from(tmp_path / 'zeros.pth', 'vit_small_patch16_dinov3'), with_biases)


def convnext_of_the_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names -> those of ConvNeXt's and DINOv3's repositories, by hand."""

    def renamed(key: str) -> str:
        parts = key.replace('conv_dw', 'dwconv').replace('mlp.fc', 'pwconv').split('.')
        if parts[0] == 'stem':
            return '.'.join(['downsample_layers', '0', *parts[1:]])
        if parts[0] == 'head':
            return '.'.join(parts[1:])
        return '.'.join(
            ['downsample_layers', parts[1], *parts[3:]] if parts[2] == 'downsample' else parts[:2] + parts[3:]
        )

    return {renamed(key): value for key, value in state.items()}


def test_dinov3s_convnext_means_what_timm_says_it_means(tmp_path):
    small = dict(depths=(1, 2, 1, 1), dims=(8, 16, 24, 32))
    source = randomised(timm.create_model('convnext_tiny', num_classes=0, **small))
    state = convnext_of_the_authors(source.state_dict())
    assert {'downsample_layers.0.1.weight', 'downsample_layers.3.1.bias', 'stages.1.1.pwconv2.bias'} <= state.keys()
    again = {f'norms.3.{kind}': state[f'norm.{kind}'] for kind in ('weight', 'bias')}
    torch.save(state | again, tmp_path / 'convnext.pth')
    ours = TimmBackbone('convnext_tiny', checkpoint=str(tmp_path / 'convnext.pth'), **small).eval()
    model = timm.create_model('convnext_tiny', num_classes=0, **small).eval()
    model.load_state_dict(convnext.checkpoint_filter_fn(dict(state), model))
    with torch.no_grad():
        assert torch.equal(ours(photographs()).class_token, model(photographs()))
        assert torch.equal(ours(photographs()).class_token, source(photographs()))


# --- Hugging Face -----------------------------------------------------------------------------------------------------

CONFIG = dict(
    hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=2, image_size=32, patch_size=PATCH, hidden_act='gelu'
)
HUGGING_FACE = {
    'ViTModel': ('vit_tiny_patch16_224', dict(intermediate_size=HIDDEN, layer_norm_eps=1e-6), {}),
    'Dinov2Model': ('vit_small_patch14_dinov2', {}, {}),
    'Dinov2Model, swiglu': ('vit_giant_patch14_dinov2', dict(use_swiglu_ffn=True), dict(mlp_ratio=176 / DIM)),
    'Dinov2WithRegistersModel': ('vit_small_patch14_reg4_dinov2', {}, {}),
    'DINOv3ViTModel': (
        'vit_small_patch16_dinov3_qkvb',
        dict(intermediate_size=HIDDEN, num_register_tokens=4),
        {},
    ),
    'DINOv3ViTModel, swiglu': (
        'vit_small_plus_patch16_dinov3_qkvb',
        dict(intermediate_size=HIDDEN, num_register_tokens=4, use_gated_mlp=True, hidden_act='silu'),
        {},
    ),
}


def hugging_face_model(kind: str):
    transformers = pytest.importorskip('transformers', reason='the test extra installs transformers')
    theirs = getattr(transformers, kind.split(',')[0])
    return randomised(theirs(theirs.config_class(**{**CONFIG, **HUGGING_FACE[kind][1]})))


@pytest.mark.parametrize('kind', HUGGING_FACE)
def test_hugging_faces_files_give_the_features_of_their_own_classes(tmp_path, kind):
    model = hugging_face_model(kind)
    model.save_pretrained(tmp_path)
    name, _, arguments = HUGGING_FACE[kind]
    with torch.no_grad():
        expected = model(photographs()).last_hidden_state
    found = features_from(tmp_path / 'model.safetensors', name, **arguments)
    assert torch.allclose(found, expected, atol=5e-6)


@pytest.mark.parametrize(
    ('kind', 'prefix'),
    [('ViTModel', 'vit.'), ('Dinov2Model', 'dinov2.'), ('Dinov2WithRegistersModel', 'dinov2_with_registers.')],
)
def test_a_classifiers_file_gives_its_backbone(tmp_path, kind, prefix):
    transformers = pytest.importorskip('transformers', reason='the test extra installs transformers')
    model = hugging_face_model(kind)
    theirs = getattr(transformers, kind.replace('Model', 'ForImageClassification'))(model.config)
    getattr(theirs, prefix[:-1]).load_state_dict(model.state_dict(), strict=False)  # without the pooler
    theirs.save_pretrained(tmp_path)
    assert any(key.startswith(prefix) for key in load_checkpoint(tmp_path / 'model.safetensors'))
    with torch.no_grad():
        expected = model(photographs()).last_hidden_state
    found = features_from(tmp_path / 'model.safetensors', HUGGING_FACE[kind][0])
    assert torch.allclose(found, expected, atol=5e-6)


def test_hugging_faces_convnext_gives_the_features_of_its_own_class(tmp_path):
    transformers = pytest.importorskip('transformers', reason='the test extra installs transformers')
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 2, 1, 1])
    model = randomised(transformers.DINOv3ConvNextModel(config))
    model.save_pretrained(tmp_path)
    small = dict(depths=(1, 2, 1, 1), dims=(8, 16, 24, 32))
    ours = TimmBackbone('convnext_tiny', checkpoint=str(tmp_path / 'model.safetensors'), **small).eval()
    with torch.no_grad():
        assert torch.allclose(ours(photographs()).class_token, model(photographs()).pooler_output, atol=5e-6)


# --- mmpretrain -------------------------------------------------------------------------------------------------------


def mmpretrain(layer_scale: bool) -> dict[str, tuple[int, ...]]:
    shapes = {'cls_token': (1, 1, DIM), **POSITION, **norm('ln1'), 'patch_embed.projection.bias': (DIM,)}
    shapes |= {'patch_embed.projection.weight': (DIM, 3, PATCH, PATCH)}
    for layer in ('layers.0', 'layers.1'):
        shapes |= norm(f'{layer}.ln1') | norm(f'{layer}.ln2')
        shapes |= linear(f'{layer}.attn.qkv', DIM, 3 * DIM) | linear(f'{layer}.attn.proj', DIM, DIM)
        shapes |= linear(f'{layer}.ffn.layers.0.0', DIM, HIDDEN) | linear(f'{layer}.ffn.layers.1', HIDDEN, DIM)
        if layer_scale:
            shapes |= {f'{layer}.attn.gamma1.weight': (DIM,), f'{layer}.ffn.gamma2.weight': (DIM,)}
    return shapes


@pytest.mark.parametrize(('name', 'layer_scale'), [('vit_tiny_patch16_224', False), ('vit_small_patch14_dinov2', True)])
def test_mmpretrains_checkpoints_mean_what_its_equation_says(tmp_path, name, layer_scale):
    state = random_tensors(mmpretrain(layer_scale))
    head = {'head.layers.head.weight': torch.ones(3, DIM), 'data_preprocessor.mean': torch.ones(3)}
    torch.save({'meta': {}, 'state_dict': prefixed('backbone.', state) | head}, tmp_path / 'mm.pth')
    expected = slow_mmpretrain(state, photographs(), num_heads=2)
    assert torch.allclose(features_from(tmp_path / 'mm.pth', name), expected, atol=5e-6)


# --- torchvision, as Lightly's examples use it ------------------------------------------------------------------------


def test_torchvisions_transformer_gives_its_own_features(tmp_path):
    sizes = dict(num_layers=2, num_heads=2, hidden_dim=DIM, mlp_dim=HIDDEN)
    model = randomised(torchvision.models.VisionTransformer(image_size=32, patch_size=PATCH, **sizes))
    torch.save({'state_dict': prefixed('backbone.vit.', model.state_dict())}, tmp_path / 'simmim.ckpt')
    found = features_from(tmp_path / 'simmim.ckpt', 'vit_tiny_patch16_224')
    model.heads = torch.nn.Identity()
    with torch.no_grad():
        assert torch.allclose(found[:, 0], model(photographs()), atol=5e-6)


@pytest.mark.parametrize('name', ['resnet18', 'resnet50'])
def test_a_resnet_without_its_last_layer_as_a_sequence_gives_its_own_features(tmp_path, name):
    model = randomised(getattr(torchvision.models, name)())
    backbone = torch.nn.Sequential(*list(model.children())[:-1])
    torch.save({'state_dict': prefixed('backbone.', backbone.state_dict())}, tmp_path / 'byol.ckpt')
    ours = TimmBackbone(name, checkpoint=str(tmp_path / 'byol.ckpt')).eval()
    with torch.no_grad():
        expected = backbone(photographs()).flatten(1)
        assert torch.allclose(ours(photographs()).class_token, expected, rtol=1e-4, atol=1e-5)


# --- what is refused --------------------------------------------------------------------------------------------------

LAYOUTS = {
    'dino': ('vit_tiny_patch16_224', lambda: random_tensors(dino())),
    'dinov2': ('vit_small_patch14_reg4_dinov2', lambda: random_tensors(dinov2(registers=4))),
    'dinov3': ('vit_small_patch16_dinov3_qkvb', dinov3_tensors),
    'mmpretrain': ('vit_tiny_patch16_224', lambda: random_tensors(mmpretrain(False))),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_any_other_unexpected_or_missing_key_is_refused(layout):
    name, make = LAYOUTS[layout]
    model = timm.create_model(name, num_classes=0, **TINY)
    load_backbone(model, backbone_state(make()))
    for foreign in ('head.weight', 'blocks.0.attn.rope', 'mask_tokens', 'rope.periods'):
        with pytest.raises(ValueError, match=f'0 missing, 1 unexpected(.*\n)*.*{foreign}'):
            load_backbone(model, backbone_state(make() | {foreign: torch.ones(1)}))
    lost = next(key for key in make() if key.endswith('attn.proj.bias'))
    with pytest.raises(ValueError, match='1 missing, 0 unexpected'):
        load_backbone(model, backbone_state({key: value for key, value in make().items() if key != lost}))


SAME_NETWORK = {'dino', 'mmpretrain'}


@pytest.mark.parametrize(
    ('layout', 'other'), [pair for pair in itertools.permutations(LAYOUTS, 2) if {*pair} != SAME_NETWORK]
)
def test_a_checkpoint_of_another_architecture_is_refused_by_name_with_the_cure(tmp_path, layout, other):
    save_file(LAYOUTS[layout][1](), tmp_path / 'other.safetensors')
    with pytest.raises(ValueError, match=r'other\.safetensors does not fit(.*\n)*.*Build the model with the name'):
        features_from(tmp_path / 'other.safetensors', LAYOUTS[other][0])


def test_a_mask_token_does_not_hide_an_architecture_without_layer_scale():
    model = random_network('layer scale')
    with pytest.raises(ValueError, match=r'4 missing, 0 unexpected(.*\n)*.*blocks\.0\.ls1\.gamma'):
        load_backbone(model, backbone_state(random_tensors(dino()) | {'mask_token': torch.ones(1, DIM)}))


def test_layer_scale_may_be_missing_from_the_model_only_if_it_is_one():
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY)
    state = random_tensors(dinov2())
    with pytest.raises(ValueError, match='0 missing, 4 unexpected'):
        load_backbone(model, backbone_state(state))
    state |= {key: torch.ones(DIM) for key in state if key.endswith('gamma')}
    assert not load_backbone(model, backbone_state(state)).unexpected


def test_a_file_without_layer_scale_fits_one_of_ones_and_no_other():
    without = timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY)
    scaled = timm.create_model('vit_tiny_patch16_224', num_classes=0, init_values=1.0, **TINY).eval()
    assert not load_backbone(scaled, backbone_state(without.state_dict())).missing
    images = torch.randn(2, 3, *without.patch_embed.img_size)
    torch.testing.assert_close(scaled(images), without.eval()(images))
    small = timm.create_model('vit_tiny_patch16_224', num_classes=0, init_values=1e-5, **TINY)
    with pytest.raises(ValueError, match='has no LayerScale: init_values=None builds the model without it'):
        load_backbone(small, backbone_state(without.state_dict()))
    a_part = {'blocks.0.ls1.gamma': torch.full((DIM,), 2.0)}  # of a file that has lost the rest
    with pytest.raises(ValueError, match='3 missing, 0 unexpected'):
        load_backbone(scaled, backbone_state(without.state_dict() | a_part))


def test_weights_that_contradict_each_other_are_an_error_that_says_so():
    state = random_tensors(dinov2(registers=4)) | {'pos_embed': torch.ones(1, PATCHES + 1, DIM - 1)}
    with pytest.raises(ValueError, match='The weights contradict each other'):
        backbone_state(state)
    state = random_tensors(dinov2(registers=4)) | {'reg_token': torch.ones(1, 4, DIM)}
    with pytest.raises(ValueError, match='reg_token and another key both become reg_token'):
        backbone_state(state)
