import pytest
import torch
from small_distillation import Backbone, make, make_head, make_views, parameters_of
from torch import nn

from dino_plugin.core.distillation import SelfDistillation, Teacher
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.koleo import KoLeoLoss
from dino_plugin.core.schedules import Cosine
from dino_plugin.core.targets import Centering
from dino_plugin.core.views import ViewBatch


def test_the_teacher_is_the_student_bit_for_bit_and_never_has_a_gradient():
    model = make()
    student, teacher = parameters_of(model.student), parameters_of(model.teacher)
    assert student.keys() == teacher.keys()
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())
    sum(model(make_views(), 0.0).values()).backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert all(p.grad is not None for p in model.student.parameters() if p.requires_grad)


def test_the_teacher_follows_by_exactly_one_minus_momentum_of_the_gap():
    model = make(momentum=Cosine(0.5, 1.0))
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    before, student = parameters_of(model.teacher), parameters_of(model.student)
    model.update_teacher(0.5)
    for name, after in parameters_of(model.teacher).items():
        torch.testing.assert_close(after, 0.75 * before[name] + 0.25 * student[name])
    model.update_teacher(1.0)
    unmoved = parameters_of(model.teacher)
    model.update_teacher(1.0)
    assert all(torch.equal(unmoved[name], value) for name, value in parameters_of(model.teacher).items())


@pytest.mark.parametrize('as_tensor', [True, False])
def test_a_skipped_step_leaves_the_teacher_alone_bit_for_bit(as_tensor):
    model = make(momentum=0.5)
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    before = parameters_of(model.teacher)
    model.update_teacher(0.0, torch.tensor(False) if as_tensor else False)
    assert all(torch.equal(before[name], value) for name, value in parameters_of(model.teacher).items())
    model.update_teacher(0.0, torch.tensor(True) if as_tensor else True)
    for name, value in parameters_of(model.teacher).items():
        torch.testing.assert_close(value, before[name] + 0.5)


@pytest.mark.parametrize('as_tensor', [True, False])
def test_a_skipped_step_leaves_every_buffer_as_it_was_and_a_taken_one_does_not(as_tensor):
    """One image of NaN, in the second of two accumulated batches: statistics of batch norms, student and teacher, and
    the centre.
    """
    model = make(momentum=0.5, heads={'cls': make_head(batch_norm=True)}).train()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert {name.split('.')[0] for name in buffers} == {'student', 'teacher', 'losses'}
    for poison in (0.0, float('nan')):
        views = make_views()
        views.global_views[0, 0] += poison
        model(views, 0.0)
    assert any(buffer.isnan().any() for buffer in model.buffers())
    model.update_teacher(0.0, torch.tensor(False) if as_tensor else False)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    model(make_views(), 0.0)
    model.update_teacher(0.0, torch.tensor(True) if as_tensor else True)
    assert not any(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())


def test_the_deciding_tensor_is_not_read_by_the_host(monkeypatch):
    model = make(momentum=0.5)
    with torch.no_grad():
        next(model.student.parameters()).add_(1.0)
    monkeypatch.setattr(torch.Tensor, '__bool__', lambda self: pytest.fail('the host waited for the device'))
    monkeypatch.setattr(torch.Tensor, 'item', lambda self: pytest.fail('the host waited for the device'))
    model.update_teacher(0.0, torch.tensor(True))


@pytest.mark.parametrize('train_was_called', [False, True])
def test_the_teacher_has_no_random_depth_and_no_dropout(train_was_called):
    model, views = make(drop=0.5), make_views()
    if train_was_called:
        model.train()
    with torch.no_grad():
        first, second = (model.teacher.backbone(views.global_views).class_token for _ in range(2))
        student = model.student.backbone(views.global_views).class_token
    assert torch.equal(first, second)
    assert not torch.equal(student, first)


def modes(network):
    return {name: module.training for name, module in network.named_modules()}


def test_only_the_batch_norms_of_a_teacher_follow_its_mode():
    """They do from the start, and after any round trip."""
    backbone = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.SyncBatchNorm(3), nn.Dropout()))
    teacher = Teacher(backbone, {'cls': make_head(batch_norm=True)})
    norms = {name for name, module in teacher.named_modules() if 'BatchNorm' in type(module).__name__}
    assert len(norms) == 4
    for network in (teacher, teacher.train(), teacher.eval().train()):
        assert {name for name, training in modes(network).items() if training} == norms
    assert not any(modes(teacher.eval()).values())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_teacher_keeps_its_modes_when_the_model_changes_its_own():
    model = make(heads={'cls': make_head(batch_norm=True)})
    at_first = modes(model)
    assert not model.teacher.training and model.student.training
    assert not any(modes(model.eval()).values())
    assert modes(model.train()) == at_first


def test_the_teachers_batch_norms_have_statistics_of_their_own():
    model = make(heads={'cls': make_head(batch_norm=True)})
    model(make_views(), 0.0)
    student, teacher = (network.heads['cls'].mlp[1].running_mean for network in (model.student, model.teacher))
    assert teacher.norm() > 0
    assert not torch.equal(student, teacher)
    before = teacher.clone()
    model.update_teacher(0.0)
    assert torch.equal(before, teacher)


def test_the_teacher_sees_global_views_only():
    model = make()
    model(make_views(), 0.0)
    assert model.teacher.backbone.seen == [(2, 4, 3, 8, 8)]
    assert model.student.backbone.seen == [(2, 4, 3, 8, 8), (3, 4, 3, 6, 6)]


def test_one_step_equals_a_slow_reference_in_loss_gradients_centre_and_parameters():
    """DINO's algorithm 1 with plain tensors: forward, loss over all pairs, SGD, EMA, centre."""
    model, views = make(momentum=0.9), make_views()
    reference = make(momentum=0.9)
    student, teacher = reference.student, reference.teacher
    images = [*views.global_views, *views.local_views]
    student_scores = [student.heads['cls'](student.backbone(image[None]).class_token)[0] for image in images]
    teacher_scores = [teacher.heads['cls'](teacher.backbone(image[None]).class_token)[0] for image in images[:2]]
    terms = []
    for t in range(2):
        for s in range(5):
            if s != t:
                target = ((teacher_scores[t] - 0) / 0.04).softmax(-1)
                terms.append(-(target * (student_scores[s] / 0.1).log_softmax(-1)).sum(-1).mean())
    expected = torch.stack(terms).mean()
    expected.backward()

    loss = model(views, 0.0)['dino']
    loss.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(model.losses['dino'].target.center, 0.1 * torch.cat(teacher_scores).mean(0))
    teacher_before = parameters_of(model.teacher)
    for ours, theirs in zip(model.student.parameters(), student.parameters(), strict=True):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
            with torch.no_grad():
                ours.sub_(ours.grad)
                theirs.sub_(theirs.grad)
    model.update_teacher(0.0)
    for name, theirs in student.named_parameters():
        torch.testing.assert_close(
            dict(model.teacher.named_parameters())[name],
            0.9 * teacher_before[name] + 0.1 * theirs,
            rtol=1e-4,
            atol=1e-6,
        )


def test_losses_are_weighted_by_their_schedules():
    losses = {'dino': DINOLoss('cls', Centering(8), weight=2.0), 'koleo': KoLeoLoss(weight=Cosine(0.1, 0.0))}
    model = make(losses=losses).eval()
    start, end = model(make_views(), 0.0), model(make_views(), 1.0)
    plain = make().eval()(make_views(), 0.0)['dino']
    torch.testing.assert_close(start['dino'], 2 * plain)
    assert start['koleo'] != 0
    assert end['koleo'] == 0


def test_too_few_views_are_refused():
    with pytest.raises(ValueError, match='1 global and 0 local views'):
        make()(make_views(num_global=1, num_local=0), 0.0)


def test_local_views_sent_to_the_teacher_are_refused():
    views = make_views(num_local=2)
    with pytest.raises(ValueError, match=r'global views of \(6, 6\) pixels and local views of \(8, 8\)'):
        make()(ViewBatch(views.local_views, views.global_views), 0.0)


def test_wrong_wiring_is_refused_by_name():
    head = make_head()
    with pytest.raises(ValueError, match=r"heads \['patch'\], but the heads are \['cls'\]"):
        make(losses={'dino': DINOLoss('patch', Centering(8)), 'also': DINOLoss('cls', Centering(8))})
    with pytest.raises(ValueError, match=r"no loss uses the heads \['spare'\]"):
        make(heads={'cls': head, 'spare': head})
    with pytest.raises(ValueError, match='no losses'):
        SelfDistillation(Backbone(), {}, {}, 0.9)
