"""An exported backbone gives the same features on real images in the program it is exported for."""

import hashlib
import json
import runpy
import sys
from functools import partial

import numpy as np
import pytest
import timm
import torch
from networks import NETWORKS, photographs, random_network, randomised, slow_mmpretrain
from PIL import Image
from safetensors.torch import load_file
from timm.layers import GluMlp, LayerNorm, to_2tuple
from timm.models.vision_transformer import ResPostBlock

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.export.formats import FORMATS
from dino_plugin.export.tensors import in_format
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.safe_loading import load_checkpoint

# Only timm's own names; all have numbers or parts in their keys that look like those of other layouts.
WITHOUT_TABLES = {
    'blocks in stages': ('mobilenetv3_small_050', dict()),
    'separate queries': (
        'eva02_base_patch14_224',
        dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, qkv_fused=False),
    ),
    'convolutions': ('resnet10t', dict()),
    'hybrid': ('vit_tiny_r_s16_p8_224', dict(img_size=32, embed_dim=32, depth=1, num_heads=2)),
}
MMPRETRAIN = ['plain', 'plain, position of patches only', 'plain, not square', 'layer scale']


def training_checkpoint(path, model_name, arguments):
    """What a training leaves: teacher, student, heads, and the description of the student's backbone."""
    student = TimmBackbone(model_name, drop_path_rate=0.1, **arguments)
    teacher = TimmBackbone(model_name, **arguments)
    randomised(teacher, seed=1), randomised(student, seed=2)
    state = {f'distillation.student.backbone.{key}': value for key, value in student.state_dict().items()}
    state |= {f'distillation.teacher.backbone.{key}': value for key, value in teacher.state_dict().items()}
    state['distillation.teacher.heads.cls.last.weight'] = torch.ones(3)
    meta = {'epoch': 3, 'backbone': student.description, 'losses': ['DINOLoss', 'KoLeoLoss']}
    torch.save({'meta': meta, 'state_dict': state}, path)
    return teacher, student


@pytest.fixture
def exported(tmp_path):
    """Kind of network, format -> the network trained, and the file exported from its training checkpoint."""

    def export(kind: str, format: str, suffix: str = ''):
        teacher, _ = training_checkpoint(tmp_path / 'epoch_3.pth', *(NETWORKS | WITHOUT_TABLES)[kind])
        out = tmp_path / f'out{suffix}'
        return teacher.model, export_backbone(tmp_path / 'epoch_3.pth', out, format=format)

    return export


def images_for(model):
    return photographs(*model.patch_embed.img_size) if hasattr(model, 'patch_embed') else photographs()


@pytest.mark.parametrize('kind', [*NETWORKS, *WITHOUT_TABLES])
@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_timm_gives_the_same_features_from_the_exported_file(exported, kind, suffix):
    network, path = exported(kind, 'timm', suffix)
    card = json.loads(path.with_suffix('.json').read_text())
    model = timm.create_model(card['model_name'], **card['timm_arguments'], checkpoint_path=str(path)).eval()
    images = images_for(network)
    with torch.no_grad():
        assert torch.equal(model.forward_features(images), network.forward_features(images))
    assert path.suffix == suffix


def test_teacher_and_student_are_exported_apart(tmp_path):
    networks = training_checkpoint(tmp_path / 'a.pth', *NETWORKS['plain'])
    for source, network in zip(('teacher', 'student'), networks):
        state = load_file(export_backbone(tmp_path / 'a.pth', tmp_path / source, source))
        assert all(torch.equal(value, state[key]) for key, value in network.model.state_dict().items())


@pytest.mark.parametrize('kind', NETWORKS)
def test_transformers_gives_the_same_features_from_the_exported_folder(exported, kind):
    transformers = pytest.importorskip('transformers', reason='the test extra installs transformers')
    network, path = exported(kind, 'huggingface')
    config = json.loads((path.parent / 'config.json').read_text())
    theirs = getattr(transformers, config['architectures'][0])
    model, loading = transformers.AutoModel.from_pretrained(path.parent, output_loading_info=True)
    assert type(model) is theirs
    assert not any(loading.values())
    images = images_for(network)
    with torch.no_grad():
        found, expected = model.eval()(images), network.forward_features(images)
    assert torch.allclose(found.last_hidden_state, expected, atol=5e-6)
    assert torch.allclose(found.pooler_output, expected[:, 0], atol=5e-6)  # DINO trains no pooler: none may be random


LEVEL = 1 / 255 / 0.225  # one grey level after normalisation, at most


def prepared(image: Image.Image, rows: int, columns: int) -> torch.Tensor:
    """The evaluation view of a network for images of rows x columns, by Pillow alone."""
    shorter = round(max(rows, columns) * 8 / 7)
    width, height = (int(side * shorter / min(image.size)) for side in image.size)
    left, top = (width - columns) // 2, (height - rows) // 2
    image = image.resize((width, height), Image.BICUBIC).crop((left, top, left + columns, top + rows))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(np.array(image)) / 255 - mean) / std).movedim(-1, 0)[None]


@pytest.mark.parametrize('kind', ['plain', 'plain, not square', 'layer scale', 'swiglu, registers', 'rotary'])
def test_transformers_pipeline_gives_the_features_of_the_network_on_the_evaluation_view(exported, repository, kind):
    transformers = pytest.importorskip('transformers', reason='the test extra installs transformers')
    network, path = exported(kind, 'huggingface')
    folder = str(path.parent)
    photograph = sorted((repository / 'tests/data/davis').rglob('*.jpg'))[0]
    image = Image.open(photograph).convert('RGB')
    assert image.width != image.height
    view = prepared(image, *network.patch_embed.img_size)
    slow = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    fast = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=True)
    assert torch.allclose(slow(image, return_tensors='pt').pixel_values, view, atol=1e-5)
    assert torch.allclose(fast(image, return_tensors='pt').pixel_values, view, atol=1.01 * LEVEL)
    found = []
    for processor in (slow, fast):
        pipe = transformers.pipeline('image-feature-extraction', model=folder, image_processor=processor)
        found.append(pipe(str(photograph), return_tensors=True))
    with torch.no_grad():
        assert torch.allclose(found[0], network.forward_features(view), atol=2e-5)
        theirs = fast(image, return_tensors='pt').pixel_values
        assert torch.allclose(found[1], network.forward_features(theirs), atol=2e-5)
    pipe = transformers.pipeline('image-feature-extraction', model=folder)
    assert min((pipe(str(photograph), return_tensors=True) - features).abs().max() for features in found) < 2e-5


FINE_TUNED = {
    'plain': dict(img_size=48),
    'layer scale': dict(img_size=(16, 40)),
    'registers': dict(dynamic_img_size=True),
    'rotary': dict(img_size=64),
    'convolutions': {},
}


@pytest.mark.parametrize('kind', FINE_TUNED)
def test_timm_fine_tunes_the_exported_file_with_a_new_classifier_and_at_another_size(exported, kind):
    network, path = exported(kind, 'timm')
    card = json.loads(path.with_suffix('.json').read_text())
    arguments = card['timm_arguments'] | FINE_TUNED[kind] | dict(num_classes=10)
    overlay = dict(card['pretrained_cfg'], file=str(path))
    model = timm.create_model(card['model_name'], pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    own, found = network.state_dict(), model.state_dict()
    other_size = {'pos_embed'} if 'img_size' in FINE_TUNED[kind] else set()
    assert all(torch.equal(own[key], found[key]) for key in own.keys() - other_size)
    classifier = model.get_classifier()
    assert {key.split('.')[-1] for key in found.keys() - own.keys()} == {'weight', 'bias'}  # of the classifier alone
    rows, columns = to_2tuple(FINE_TUNED[kind].get('img_size', 64))
    images = torch.randn(2, 3, rows, columns)
    with torch.no_grad():
        features = model.eval().forward_features(images)
        assert torch.allclose(model(images), classifier(model.forward_head(features, pre_logits=True)), atol=1e-5)
        assert model(images).shape == (2, 10)
    data = timm.data.resolve_model_data_config(model)
    assert list(data['mean']) == card['mean'] and list(data['std']) == card['std']
    assert data['interpolation'] == 'bicubic' and data['crop_pct'] == 0.875


def test_a_hugging_face_folder_is_a_checkpoint(exported):
    network, path = exported('registers', 'huggingface')
    backbone = TimmBackbone(checkpoint=str(path.parent))
    assert all(map(torch.equal, backbone.model.state_dict().values(), network.state_dict().values()))
    path.with_suffix('.json').unlink()
    with pytest.raises(ValueError, match='does not say which network it holds'):
        TimmBackbone(checkpoint=str(path.parent))


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        ('plain', 'ViTModel'),
        ('layer scale', 'Dinov2Model'),
        ('swiglu', 'Dinov2Model'),
        ('registers', 'Dinov2WithRegistersModel'),
        ('rotary', 'DINOv3ViTModel'),
    ],
)
def test_hugging_faces_folder_names_the_class_of_the_architecture(exported, kind, name):
    _, path = exported(kind, 'huggingface')
    assert json.loads((path.parent / 'config.json').read_text())['architectures'] == [name]


@pytest.mark.parametrize('kind', MMPRETRAIN)
def test_mmpretrain_gives_the_same_features_from_the_exported_file(exported, kind):
    backbones = pytest.importorskip(
        'mmpretrain.models.backbones', reason='mmpretrain is not installed', exc_type=ImportError
    )
    network, path = exported(kind, 'mmpretrain', '.pth')
    arguments = NETWORKS[kind][1]
    dim, depth, heads = (arguments[key] for key in ('embed_dim', 'depth', 'num_heads'))
    model = backbones.VisionTransformer(
        dict(embed_dims=dim, num_layers=depth, num_heads=heads, feedforward_channels=4 * dim),
        img_size=arguments['img_size'],
        patch_size=arguments['patch_size'],
        layer_scale_init_value=1.0 if kind == 'layer scale' else 0.0,
        out_type='raw',
    )
    model.load_state_dict(load_checkpoint(path))
    model.eval()  # returns None
    images = images_for(network)
    with torch.no_grad():
        assert torch.allclose(model(images)[0], network.forward_features(images), atol=5e-6)


@pytest.mark.parametrize('kind', MMPRETRAIN)
def test_mmpretrains_equation_on_the_exported_tensors_gives_the_same_features(exported, kind):
    network, path = exported(kind, 'mmpretrain')
    images = images_for(network)
    with torch.no_grad():
        found = slow_mmpretrain(load_checkpoint(path), images, num_heads=2)
        assert torch.allclose(found, network.forward_features(images), atol=5e-6)


@pytest.mark.parametrize(
    ('kind', 'format'),
    [(kind, format) for kind in NETWORKS for format in FORMATS if format != 'mmpretrain' or kind in MMPRETRAIN]
    + [(kind, 'timm') for kind in WITHOUT_TABLES],
)
def test_every_exported_file_comes_back_as_the_same_network(exported, kind, format):
    network, path = exported(kind, format)
    name, arguments = (NETWORKS | WITHOUT_TABLES)[kind]
    ours = TimmBackbone(name, checkpoint=str(path), **arguments).eval()
    images = images_for(network)
    with torch.no_grad():
        assert torch.allclose(ours.model.forward_features(images), network.forward_features(images), atol=5e-6)
    assert backbone_description(load_checkpoint(path), path)['timm_arguments'].keys() == {*arguments, 'num_classes'}


BLOCK = ['norm1.weight', 'norm1.bias', 'attn.qkv.weight', 'attn.qkv.bias', 'attn.proj.weight', 'attn.proj.bias']
BLOCK += ['norm2.weight', 'norm2.bias']
MLP = ['mlp.fc1.weight', 'mlp.fc1.bias', 'mlp.fc2.weight', 'mlp.fc2.bias']
OUTSIDE = ['cls_token', 'patch_embed.proj.weight', 'patch_embed.proj.bias', 'norm.weight', 'norm.bias']
LAYER_SCALE = ['ls1.gamma', 'ls2.gamma']


@pytest.mark.parametrize(
    ('kind', 'outside', 'block'),
    [
        ('plain', ['pos_embed'], MLP),
        ('layer scale', ['pos_embed', 'mask_token'], MLP + LAYER_SCALE),
        (
            'swiglu, registers',
            ['pos_embed', 'mask_token', 'register_tokens'],
            ['mlp.w12.weight', 'mlp.w12.bias', 'mlp.w3.weight', 'mlp.w3.bias', *LAYER_SCALE],
        ),
        (
            'rotary',
            ['mask_token', 'storage_tokens', 'rope_embed.periods'],
            ['attn.qkv.bias_mask', *MLP, *LAYER_SCALE],
        ),
        (
            'rotary, swiglu, biased',
            ['mask_token', 'storage_tokens', 'rope_embed.periods'],
            [
                'attn.qkv.bias_mask',
                *(f'mlp.w{i}.{kind}' for i in (1, 2, 3) for kind in ('weight', 'bias')),
                *LAYER_SCALE,
            ],
        ),
    ],
)
def test_the_original_format_has_exactly_the_keys_of_the_authors_networks(exported, kind, outside, block):
    _, path = exported(kind, 'original', '.pth')
    expected = {*OUTSIDE, *outside} | {f'blocks.{i}.{name}' for i in range(2) for name in BLOCK + block}
    assert load_checkpoint(path).keys() == expected


def test_the_original_format_of_dinov3_has_the_authors_periods_and_a_masked_bias_of_keys(exported):
    network, path = exported('rotary, biased', 'original')
    state = load_checkpoint(path)
    dim_of_head = 16
    exponents = 2 * torch.arange(dim_of_head // 4) / (dim_of_head // 2)
    assert torch.allclose(state['rope_embed.periods'], 100**exponents)
    query, of_keys, values = state['blocks.1.attn.qkv.bias'].chunk(3)
    assert torch.equal(query, network.blocks[1].attn.q_bias) and torch.equal(values, network.blocks[1].attn.v_bias)
    assert not of_keys.any()
    mask = state['blocks.1.attn.qkv.bias_mask'].unflatten(0, (3, 32))
    assert mask.unique(dim=1).flatten().tolist() == [1, 0, 1]


def test_the_original_format_of_a_resnet_has_timms_names(exported):
    model = randomised(timm.create_model('resnet10t', stem_type='', num_classes=0))
    assert in_format(model, 'original').state.keys() == model.state_dict().keys()
    with pytest.raises(ValueError, match='ResNet with an architecture that is neither'):
        in_format(timm.create_model('resnet10t', num_classes=0), 'original')  # a stem of three layers


@pytest.mark.parametrize(
    ('name', 'arguments', 'found'),
    [
        ('vit_tiny_r_s16_p8_224', {}, 'HybridEmbed as patch embedding instead of PatchEmbed'),
        ('resnet10t', {}, 'ResNet with an architecture that is neither'),
        ('vit_tiny_patch16_224', dict(class_token=False, global_pool='avg'), 'no class token'),
        ('vit_tiny_patch16_224', dict(global_pool='avg'), 'Identity as last normalisation'),
        ('vit_tiny_patch16_224', dict(qk_norm=True), "'blocks.0.attn.q_norm.weight'"),
        ('vit_tiny_patch16_224', dict(pre_norm=True), "'norm_pre.weight'"),
        ('vit_tiny_patch16_224', dict(act_layer='quick_gelu'), r'Mlp \(QuickGELU\)'),
        ('vit_tiny_patch16_224', dict(act_layer='gelu_tanh'), r'Mlp \(GELUTanh\)'),
        ('vit_tiny_patch16_224', dict(pos_embed='none'), 'no position embedding'),
        ('vit_tiny_patch16_224', dict(norm_layer=partial(LayerNorm, eps=1e-5)), 'epsilon 1e-05'),
        ('vit_tiny_patch16_224', dict(block_fn=ResPostBlock), 'ResPostBlock as block'),
        ('vit_giant_patch14_dinov2', dict(mlp_layer=GluMlp), r'GluMlp \(SiLU\)'),  # the gate is the other half
        ('vit_small_patch16_dinov3', dict(rope_rotate_half=False), 'another rotation than DINOv3'),
        ('vit_small_patch16_dinov3', dict(num_reg_tokens=0), 'rotary positions without registers'),
        ('vit_relpos_small_patch16_224', {}, 'VisionTransformerRelPos'),
        ('eva02_tiny_patch14_224', {}, 'RotaryEmbeddingCat as position embedding'),
    ],
)
@pytest.mark.parametrize('format', ['huggingface', 'mmpretrain', 'original'])
def test_a_network_without_counterpart_is_refused_with_what_is_special_and_the_way_out(name, arguments, found, format):
    small = {} if name.startswith('resnet') else dict(embed_dim=32, depth=1, num_heads=2)
    model = timm.create_model(name, num_classes=0, **small, **arguments)
    if 'rope_rotate_half' in arguments and model.rope.rotate_half:
        pytest.skip('this timm has no other rotation')
    with pytest.raises(ValueError, match=f"The format '{format}' has no such network.*{found}") as error:
        in_format(model, format)
    assert "format='timm'" in str(error.value)


@pytest.mark.parametrize('kind', ['registers', 'swiglu', 'rotary'])
def test_mmpretrain_is_refused_what_its_transformer_lacks(kind):
    with pytest.raises(ValueError, match=f'vision transformer .*{kind}.* is not among'):
        in_format(random_network(kind), 'mmpretrain')


def test_an_mlp_that_no_whole_ratio_gives_is_refused_for_dinov2_and_fine_for_vit():
    arguments = dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, mlp_ratio=2.5, num_classes=0)
    with pytest.raises(ValueError, match='80 hidden units for tokens of width 32'):
        in_format(timm.create_model('vit_small_patch14_dinov2', **arguments), 'huggingface')
    plain = in_format(timm.create_model('vit_tiny_patch16_224', **arguments), 'huggingface')
    assert plain.config['intermediate_size'] == 80


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['timm', 'huggingface', 'mmpretrain', 'original'\], got 'keras'"):
        in_format(random_network('plain'), 'keras')


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_the_name_carries_the_hash_and_the_description_the_numbers(tmp_path, suffix):
    name, arguments = NETWORKS['plain']
    teacher, _ = training_checkpoint(tmp_path / 'a.pth', name, arguments)
    path = export_backbone(tmp_path / 'a.pth', tmp_path / f'vit.b{suffix}')
    assert path.name == f'vit.b-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}{suffix}'
    assert path == export_backbone(tmp_path / 'a.pth', tmp_path / f'vit.b{suffix}')
    card = json.loads(path.with_suffix('.json').read_text())
    assert card['image_size'] == [32, 32] and card['patch_size'] == [8, 8] and card['feature_dim'] == 32
    assert card['num_parameters'] == sum(parameter.numel() for parameter in teacher.parameters())
    assert card['mean'] == [0.485, 0.456, 0.406] and card['std'] == [0.229, 0.224, 0.225]
    assert card['method'] == ['DINOLoss', 'KoLeoLoss'] and card['format'] == 'timm' and card['network'] == 'teacher'
    assert 'drop_path_rate' not in card['timm_arguments']


def test_a_folder_for_hugging_face_carries_the_hash_and_holds_no_pth(tmp_path):
    training_checkpoint(tmp_path / 'a.pth', *NETWORKS['plain'])
    path = export_backbone(tmp_path / 'a.pth', tmp_path / 'vit', format='huggingface')
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert path == tmp_path / f'vit-{digits}' / 'model.safetensors'
    names = {'model.safetensors', 'model.json', 'config.json', 'preprocessor_config.json'}
    assert {file.name for file in path.parent.iterdir()} == names
    with pytest.raises(ValueError, match=r'give the folder without \.pth'):
        export_backbone(tmp_path / 'a.pth', tmp_path / 'vit.pth', format='huggingface')


def test_a_checkpoint_without_a_description_is_refused(tmp_path):
    torch.save({'state_dict': {}}, tmp_path / 'foreign.pth')
    with pytest.raises(ValueError, match=r'foreign\.pth does not say which backbone it holds'):
        export_backbone(tmp_path / 'foreign.pth', tmp_path / 'out')


def test_an_official_file_is_converted_without_a_training(tmp_path):
    model = randomised(timm.create_model('vit_tiny_patch16_224', num_classes=0))
    torch.save({'teacher': {f'backbone.{key}': value for key, value in model.state_dict().items()}}, tmp_path / 'a.pth')
    path = export_backbone(tmp_path / 'a.pth', tmp_path / 'out.pth', format='mmpretrain')
    card = json.loads(path.with_suffix('.json').read_text())
    assert card['model_name'] == 'vit_tiny_patch16_224' and 'method' not in card
    state = load_checkpoint(path)
    assert torch.equal(state['layers.11.ln2.bias'], model.blocks[11].norm2.bias)


def test_the_tool_exports_beside_the_checkpoint_or_where_it_is_told(tmp_path, repository, monkeypatch, capsys):
    training_checkpoint(tmp_path / 'epoch_3.pth', *NETWORKS['plain'])
    tool = str(repository / 'tools/export_backbone.py')
    monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'epoch_3.pth'), '--std', '255', '255', '255'])
    runpy.run_path(tool, run_name='__main__')
    (path,) = tmp_path.glob('epoch_3-*.safetensors')
    assert capsys.readouterr().out.split()[-2:] == [str(path), str(path.with_suffix('.json'))]
    assert json.loads(path.with_suffix('.json').read_text())['std'] == [1.0, 1.0, 1.0]

    out = tmp_path / 'new' / 'vit.pth'
    monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'epoch_3.pth'), str(out), '--format', 'mmpretrain'])
    runpy.run_path(tool, run_name='__main__')
    (path,) = out.parent.glob('vit-*.pth')
    assert 'layers.0.ffn.layers.0.0.weight' in load_checkpoint(path)


def test_the_patch_of_a_network_behind_a_stem_is_told_in_pixels_of_the_image(tmp_path, repository, monkeypatch, capsys):
    arguments = dict(img_size=32, patch_size=2, embed_dim=32, depth=1, num_heads=2)  # 2 cells of a stem of stride 4
    training_checkpoint(tmp_path / 'a.pth', 'vit_tiny_r_s16_p8_224', arguments)
    path = export_backbone(tmp_path / 'a.pth', tmp_path / 'hybrid')
    assert json.loads(path.with_suffix('.json').read_text())['patch_size'] == [8, 8]
    # A format that has no such network: one message, no traceback.
    tool = str(repository / 'tools/export_backbone.py')
    monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'a.pth'), '--format', 'mmpretrain'])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_path(tool, run_name='__main__')
    assert "export_backbone.py: The format 'mmpretrain' has no such network" in capsys.readouterr().err
