"""A network that was trained before teaches a smaller student."""

import copy

import pytest
import torch
from small_training import build_runner
from test_training import equal, everything, train
from torch.nn.functional import cosine_similarity
from trained import PATCH, masked_config, train_and_save

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.heads import DINOHead
from dino_plugin.core.views import ViewBatch
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.safe_loading import load_checkpoint

HEADS = dict(cls=dict(type='dino_plugin.DINOHead', prototypes=32, hidden_dim=48, bottleneck_dim=16), patch=PATCH)


@pytest.fixture(scope='module')
def big(tmp_path_factory):
    """The checkpoint of the network that will be the frozen teacher."""
    return train_and_save(tmp_path_factory.mktemp('big'))


def with_frozen_teacher(work_dir, checkpoint, max_iters=3, **changes):
    """A student of one narrow block, without masks, that compares every patch."""
    config = masked_config(work_dir, max_iters, **changes)
    config.model.backbone.update(embed_dim=16, depth=1, mask_token=False, local_norm=False, drop_path_rate=0.0)
    for head in config.model.heads.values():
        head.update(hidden_dim=20, bottleneck_dim=8)
    config.model.losses.ibot.patches = 'all'
    config.train_dataloader.collate_fn = dict(type='dino_plugin.multi_crop_collate')
    config.model.frozen_teacher = dict(checkpoint=str(checkpoint), heads=copy.deepcopy(HEADS))
    return config


def test_the_frozen_teacher_does_not_move_and_the_teacher_still_follows_the_student(tmp_path, big):
    runner, recorder = train(with_frozen_teacher(tmp_path, big))
    saved = load_checkpoint(big)['state_dict']
    frozen_teacher = runner.model.distillation.frozen_teacher
    for name, value in frozen_teacher.state_dict().items():
        assert torch.equal(value, saved[f'distillation.teacher.{name}']), name
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in frozen_teacher.parameters())
    assert not any(module.training for module in frozen_teacher.modules())
    assert equal(recorder.students[0], recorder.teachers[0])
    momentum = runner.model.distillation.momentum
    for i in range(3):
        assert not equal(recorder.teachers[i], recorder.teachers[i + 1])
        for name, after in recorder.teachers[i + 1].items():
            expected = torch.lerp(recorder.students[i + 1][name], recorder.teachers[i][name], momentum(i / 3))
            torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-7)


def test_the_student_is_compared_with_the_frozen_teachers_network(tmp_path, big):
    """Both networks built here once more, the frozen teacher's from the file; DINO's loss pair by pair."""
    model = build_runner(with_frozen_teacher(tmp_path, big)).model.eval()
    torch.manual_seed(0)
    views = ViewBatch(torch.randn(2, 4, 3, 32, 32), torch.randn(2, 4, 3, 16, 16))
    losses = model.distillation(views, 0.0)

    backbone = TimmBackbone(checkpoint=str(big)).eval()
    head = DINOHead(32, prototypes=32, hidden_dim=48, bottleneck_dim=16)
    prefix = 'distillation.teacher.heads.cls.'
    saved = load_checkpoint(big)['state_dict'].items()
    head.load_state_dict({key.removeprefix(prefix): value for key, value in saved if key.startswith(prefix)})
    student = model.distillation.student
    with torch.no_grad():
        targets = [(head(backbone(view).class_token) / 0.04).softmax(-1) for view in views.global_views]
        scores = [student.heads['cls'](student.backbone(view).class_token) / 0.1 for view in views.global_views]
        scores += [student.heads['cls'](student.backbone(view).class_token) / 0.1 for view in views.local_views]
    terms = [-(targets[t] * scores[s].log_softmax(-1)).sum(-1).mean() for t in range(2) for s in range(4) if s != t]
    torch.testing.assert_close(losses['dino'], torch.stack(terms).mean())


def test_what_the_student_learns_is_the_frozen_teacher(tmp_path, big):
    """Its answers come closer to the frozen teacher's: whether gradients point there at all."""
    config = with_frozen_teacher(tmp_path, big, max_iters=30)
    config.model.losses = dict(dino=config.model.losses.dino)
    del config.model.heads['patch']
    runner = build_runner(config)
    network = runner.model.distillation
    views = next(iter(runner.train_dataloader))
    views = runner.model.data_preprocessor(views)['views']

    def agreement():
        with torch.no_grad():
            answers = [
                part.heads['cls'](part.backbone(views.global_views).class_token).flatten(0, 1)
                for part in (network.student.eval(), network.frozen_teacher)
            ]
        return cosine_similarity(*(answer - answer.mean(0) for answer in answers)).mean().item()

    before = agreement()
    runner.train()
    assert agreement() > before + 0.1


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, big):
    changes = dict(default_hooks__checkpoint__interval=2)
    unbroken, whole = train(with_frozen_teacher(tmp_path / 'unbroken', big, **changes))
    train(with_frozen_teacher(tmp_path / 'broken', big, **changes), stop_at=2)
    resumed, rest = train(with_frozen_teacher(tmp_path / 'broken', big, resume=True, **changes))
    assert rest.losses == whole.losses[2:]
    assert equal(everything(resumed), everything(unbroken))


def test_the_small_network_is_exported_and_the_frozen_teacher_is_not_even_saved(tmp_path, big):
    runner, _ = train(with_frozen_teacher(tmp_path, big))
    state = load_checkpoint(tmp_path / 'iter_3.pth')['state_dict']
    assert {key.split('.')[1] for key in state} == {'student', 'teacher', 'losses'}
    exported = TimmBackbone(checkpoint=str(export_backbone(tmp_path / 'iter_3.pth', tmp_path / 'small.safetensors')))
    assert exported.embed_dim == 16
    images = torch.randn(2, 3, 32, 32)
    teacher = runner.model.distillation.teacher.backbone
    with torch.no_grad():
        assert torch.equal(exported.eval()(images).class_token, teacher(images).class_token)
    model = build_runner(with_frozen_teacher(tmp_path / 'again', big)).model
    model.load_state_dict(state)  # strictly
    assert equal(model.state_dict(), runner.model.state_dict())


def test_a_frozen_teacher_that_does_not_fit_is_refused_with_its_cure(tmp_path, big):
    def build(**changes):
        config = with_frozen_teacher(tmp_path, big)
        config.merge_from_dict({path.replace('__', '.'): value for path, value in changes.items()})
        return build_runner(config)

    with pytest.raises(ValueError, match=r"'cls' has 32 prototypes in the student and 64 in the frozen teacher; .*=64"):
        build(model__frozen_teacher__heads__cls__prototypes=64)
    with pytest.raises(ValueError, match=r"The head 'cls' in .*iter_2\.pth does not fit.*\n(.*\n)*.*size mismatch"):
        build(model__frozen_teacher__heads__cls__hidden_dim=64)
    with pytest.raises(ValueError, match=r"no teacher with the heads \['other'\]; its heads: cls, patch"):
        build(model__frozen_teacher__heads__other=dict(PATCH))
    with pytest.raises(ValueError, match=r'iter_2\.pth does not fit the model'):
        build(model__frozen_teacher__backbone=dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224'))
    released = export_backbone(big, tmp_path / 'released.safetensors')
    with pytest.raises(ValueError, match=r"no teacher with the heads \['cls', 'patch'\]; .*none.*freeze_backbone"):
        build(model__frozen_teacher__checkpoint=str(released))
    config = with_frozen_teacher(tmp_path, big)
    del config.model.frozen_teacher.heads['patch']
    with pytest.raises(ValueError, match=r"name the heads \['patch'\], but the frozen teacher has"):
        build_runner(config)
