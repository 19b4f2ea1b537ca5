"""An exported backbone is timm's: the same features on real images, from the file and its description alone."""

import hashlib
import json
import runpy
import sys

import cv2
import pytest
import timm
import torch

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.checkpoint import backbone_description
from dino_plugin.export import export_backbone

MODELS = {
    'plain': ('vit_tiny_patch16_224', dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)),
    'registers': (
        'vit_tiny_patch16_224',
        dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, reg_tokens=4),
    ),
    'rotary': ('vit_small_patch16_dinov3', dict(img_size=32, embed_dim=32, depth=1, num_heads=2)),
    'convolutions': ('resnet10t', dict()),
}


@pytest.fixture
def images(repository):
    paths = sorted((repository / 'tests/data/cifar10_mini/test').rglob('*.jpg'))[::100]
    pixels = torch.stack([torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()) for path in paths])
    return pixels.movedim(-1, 1).float() / 255 - 0.5


def training_checkpoint(path, model_name, arguments):
    """What a training leaves: teacher, student, heads, and the description of the student's backbone."""
    torch.manual_seed(0)
    student = TimmBackbone(model_name, drop_path_rate=0.1, **arguments)
    teacher = TimmBackbone(model_name, **arguments)
    state = {f'distillation.student.backbone.{key}': value for key, value in student.state_dict().items()}
    state |= {f'distillation.teacher.backbone.{key}': value for key, value in teacher.state_dict().items()}
    state['distillation.teacher.heads.cls.last.weight'] = torch.ones(3)
    torch.save({'meta': {'epoch': 3, 'backbone': student.description}, 'state_dict': state}, path)
    return teacher.eval(), student.eval()


@pytest.mark.parametrize('kind', MODELS)
def test_timm_gives_the_same_features_from_the_exported_file(tmp_path, images, kind):
    name, arguments = MODELS[kind]
    networks = training_checkpoint(tmp_path / 'epoch_3.pth', name, arguments)
    for source, network in zip(('teacher', 'student'), networks):
        path = export_backbone(tmp_path / 'epoch_3.pth', tmp_path / 'out' / source, source)
        card = json.loads(path.with_suffix('.json').read_text())
        model = timm.create_model(card['model_name'], **card['timm_arguments'], checkpoint_path=str(path)).eval()
        with torch.no_grad():
            expected = network(images).class_token
            found = model(images) if kind == 'convolutions' else model.forward_features(images)[:, 0]
            assert torch.equal(found, expected)
            ours = TimmBackbone(name, checkpoint=str(path), **arguments).eval()
            assert torch.equal(ours(images).class_token, expected)
        assert backbone_description(path)['timm_arguments'].keys() == {*arguments, 'num_classes'}


def test_the_name_carries_the_hash_and_the_description_the_numbers(tmp_path):
    name, arguments = MODELS['plain']
    teacher, _ = training_checkpoint(tmp_path / 'a.pth', name, arguments)
    path = export_backbone(tmp_path / 'a.pth', tmp_path / 'vit.b.safetensors')
    assert path.name == f'vit.b-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.safetensors'
    assert path == export_backbone(tmp_path / 'a.pth', tmp_path / 'vit.b')
    card = json.loads(path.with_suffix('.json').read_text())
    assert card['image_size'] == [32, 32] and card['patch_size'] == [8, 8] and card['feature_dim'] == 32
    assert card['num_parameters'] == sum(parameter.numel() for parameter in teacher.parameters())
    assert card['mean'] == [0.485, 0.456, 0.406] and card['std'] == [0.229, 0.224, 0.225]
    assert 'drop_path_rate' not in card['timm_arguments']


def test_a_checkpoint_without_a_description_is_refused(tmp_path):
    torch.save({'state_dict': {}}, tmp_path / 'foreign.pth')
    with pytest.raises(ValueError, match=r'foreign\.pth does not say what backbone it holds'):
        export_backbone(tmp_path / 'foreign.pth', tmp_path / 'out')


def test_the_tool_exports_beside_the_checkpoint(tmp_path, repository, monkeypatch, capsys):
    training_checkpoint(tmp_path / 'epoch_3.pth', *MODELS['plain'])
    tool = str(repository / 'tools/export_backbone.py')
    monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'epoch_3.pth'), '--std', '255', '255', '255'])
    runpy.run_path(tool, run_name='__main__')
    (path,) = tmp_path.glob('epoch_3-*.safetensors')
    assert capsys.readouterr().out.split()[-2:] == [str(path), str(path.with_suffix('.json'))]
    assert json.loads(path.with_suffix('.json').read_text())['std'] == [1.0, 1.0, 1.0]
