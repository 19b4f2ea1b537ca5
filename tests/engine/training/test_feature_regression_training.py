"""Students of all kinds learn from frozen networks by the runner: resumed, saved without the teacher, exported."""

import pytest
import torch
from safetensors.torch import load_file
from small_training import build_runner, small_config
from test_training import equal, everything, train
from torch import nn
from trained import train_and_save

from dino_plugin.backbones.feature_map_backbone import FeatureMapBackbone
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.safe_loading import load_checkpoint

VIT = dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', patch_size=16, img_size=32, embed_dim=16,
           depth=1, num_heads=2)  # fmt: skip
CNN = dict(type='dino_plugin.TimmBackbone', model_name='resnet10t', output_stride=8)


class Darknet(nn.Module):
    """A detector's backbone in a package of its own: maps of two stages."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.BatchNorm2d(width), nn.SiLU())
        self.dark = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.SiLU())

    def forward(self, images):
        stem = self.stem(images)
        return stem, self.dark(stem)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """A training checkpoint; its network, of 32 features and patches of 8 pixels, is the teacher."""
    return train_and_save(tmp_path_factory.mktemp('big'))


def config_of(work_dir, teacher, backbone, max_iters=3, losses=None, **changes):
    config = small_config(work_dir)
    config.model.backbone = dict(backbone)
    config.model.heads = {name: dict(type='dino_plugin.ProjectionHead') for name in ('cls', 'patch')}
    config.model.losses = losses or dict(
        regression=term(dict(type='dino_plugin.TimmBackbone', checkpoint=str(teacher)))
    )
    config.optim_wrapper.freeze_last_layer = 0.0
    config.train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=max_iters)
    config.merge_from_dict({path.replace('__', '.'): value for path, value in changes.items()})
    return config


def term(teacher, **options):
    options = dict(class_head='cls', patch_head='patch') | options
    return dict(type='dino_plugin.FeatureRegressionLoss', teacher=teacher, **options)


@pytest.mark.parametrize(
    'student', [VIT, CNN, dict(type='dino_plugin.FeatureMapBackbone', network=dict(type=Darknet, width=4))]
)
def test_a_student_of_any_kind_learns_and_its_checkpoint_leaves_the_teacher_out(tmp_path, teacher, student):
    runner, recorder = train(config_of(tmp_path, teacher, student))
    assert not equal(recorder.students[0], recorder.students[-1])
    assert not equal(recorder.teachers[0], recorder.teachers[-1])
    frozen = runner.model.distillation.losses['regression'].teacher
    saved = load_checkpoint(teacher)['state_dict']
    for name, value in frozen.network.model.state_dict().items():
        assert torch.equal(value, saved[f'distillation.teacher.backbone.model.{name}']), name
    state = load_checkpoint(tmp_path / 'iter_3.pth')['state_dict']
    of_losses = {key for key in state if '.losses.' in key}
    assert {key.split('.')[3] for key in of_losses} == {'class_scale', 'patch_scale'}
    assert {key.split('.')[1] for key in state} == {'student', 'teacher', 'losses'}


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, teacher):
    changes = dict(default_hooks__checkpoint__interval=2)
    unbroken, whole = train(config_of(tmp_path / 'unbroken', teacher, VIT, **changes))
    train(config_of(tmp_path / 'broken', teacher, VIT, **changes), stop_at=2)
    resumed, rest = train(config_of(tmp_path / 'broken', teacher, VIT, resume=True, **changes))
    assert rest.losses == whole.losses[2:]
    assert equal(everything(resumed), everything(unbroken))


def test_the_student_is_exported_as_usual(tmp_path, teacher):
    runner, _ = train(config_of(tmp_path, teacher, VIT))
    exported = TimmBackbone(checkpoint=str(export_backbone(tmp_path / 'iter_3.pth', tmp_path / 'small.safetensors')))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = runner.model.distillation.teacher.backbone(images).class_token
        assert torch.equal(exported.eval()(images).class_token, expected)


def test_a_network_of_anybodys_own_is_exported_under_its_own_names(tmp_path, teacher):
    student = dict(type='dino_plugin.FeatureMapBackbone', network=dict(type=Darknet, width=4))
    runner, _ = train(config_of(tmp_path, teacher, student))
    with pytest.raises(ValueError, match=r'holds a .*Darknet, which is not from timm: take --format own'):
        export_backbone(tmp_path / 'iter_3.pth', tmp_path / 'own')
    with pytest.raises(ValueError, match=r'own.* is for a FeatureMapBackbone, and the checkpoint holds none'):
        export_backbone(teacher, tmp_path / 'own', format='own')
    path = export_backbone(tmp_path / 'iter_3.pth', tmp_path / 'own', format='own')
    network = Darknet(4)
    network.load_state_dict(load_file(path))
    images = torch.randn(2, 3, 32, 32)
    backbone = runner.model.distillation.teacher.backbone.eval()
    for file in (path, tmp_path / 'iter_3.pth'):
        again = FeatureMapBackbone(Darknet(4), checkpoint=str(file)).eval()
        with torch.no_grad():
            assert torch.equal(again(images).patches, backbone(images).patches)
    with torch.no_grad():
        assert torch.equal(network.eval()(images)[-1].permute(0, 2, 3, 1), backbone(images).patches)


def test_heads_take_their_widths_from_the_teachers_and_teachers_may_be_several(tmp_path, teacher):
    losses = dict(
        vit=term(dict(type='dino_plugin.TimmBackbone', checkpoint=str(teacher))),
        cnn=term(dict(CNN), class_head='other', patch_head=None, patch_weight=0.0, weight=0.5),
    )
    config = config_of(tmp_path, teacher, VIT, losses=losses)
    config.model.heads.other = dict(type='dino_plugin.ProjectionHead', hidden_dim=12)
    runner, _ = train(config)
    heads = runner.model.distillation.student.heads
    assert [heads[name].layers[-1].out_features for name in ('cls', 'patch', 'other')] == [32, 32, 512]
    losses['cnn']['class_head'] = 'cls'
    with pytest.raises(ValueError, match="Two losses name the head 'cls', and their teachers have 32 and 512"):
        build_runner(config_of(tmp_path, teacher, VIT, losses=losses))


def test_dinos_losses_may_be_added(tmp_path, teacher):
    losses = dict(
        regression=term(dict(type='dino_plugin.TimmBackbone', checkpoint=str(teacher)), local_weight=0.5),
        dino=small_config(tmp_path).model.losses.dino,
    )
    config = config_of(tmp_path, teacher, VIT, losses=losses)
    config.model.heads.dino = dict(type='dino_plugin.DINOHead', prototypes=32, hidden_dim=48, bottleneck_dim=16)
    config.model.losses.dino.head = 'dino'
    _, recorder = train(config)
    assert all({'loss_regression', 'loss_dino'} <= set(losses) for losses in recorder.losses)


def test_released_weights_bring_their_normalisation_and_the_config_wins(tmp_path, teacher, monkeypatch):
    """timm builds the network without a download; its settings are those of the released weights."""
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, 'create_model', lambda name, pretrained=False, **options: create(name, **options))
    released = dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', pretrained=True)
    for options, mean in (({}, 127.5), (dict(mean=[10.0] * 3, std=[20.0] * 3), 10.0)):
        loss = build_runner(config_of(tmp_path, teacher, VIT, losses=dict(a=term(released, **options)))).model
        factor, shift = loss.distillation.losses['a'].recolour
        std = 127.5 if not options else 20.0
        torch.testing.assert_close(factor, torch.tensor([0.229, 0.224, 0.225]) * 255 / std)
        torch.testing.assert_close(shift, (torch.tensor([0.485, 0.456, 0.406]) * 255 - mean) / std)
