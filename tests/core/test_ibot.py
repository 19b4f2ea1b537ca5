"""The patch loss against loops over views, images, rows and columns; and batches in which nothing is masked."""

import pytest
import torch
from small_distillation import make, make_head, make_views
from torch import nn

from dino_plugin.core.losses.base import Step
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.ibot import IBOTPatchLoss, masked_patch_entropy
from dino_plugin.core.schedules import Cosine
from dino_plugin.core.targets import Centering, SinkhornKnopp
from dino_plugin.core.views import Tokens, ViewBatch

PROTOTYPES = 5


def plain_masked_patch_entropy(student_scores, teacher_probabilities, image, num_images, temperature):
    """The equation: one loop per symbol, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(num_images):
        patches = [j for j in range(len(image)) if image[j] == i]
        for j in patches:
            z = student_scores[j].double() / temperature
            for k in range(student_scores.shape[1]):
                log_p = z[k] - z.exp().sum().log()
                total = total - teacher_probabilities[j, k].double() * log_p / len(patches)
    return total / num_images


def random_patches(num_masked):
    torch.manual_seed(0)
    scores = torch.randn(num_masked, PROTOTYPES, requires_grad=True)
    return scores, torch.randn(num_masked, PROTOTYPES).softmax(-1)


@pytest.mark.parametrize(
    ('image', 'num_images'),
    [([0, 0, 0, 1, 3, 3], 5), ([2], 3), ([0, 1, 2], 3), ([1, 0, 1, 1, 0], 2)],
    ids=['images without masked patches', 'one patch', 'one each', 'in any order'],
)
def test_the_loss_and_its_gradient_equal_the_equation(image, num_images):
    scores, targets = random_patches(len(image))
    reference = scores.detach().clone().requires_grad_()
    loss = masked_patch_entropy(scores, targets, torch.tensor(image), num_images, 0.1)
    expected = plain_masked_patch_entropy(reference, targets, image, num_images, 0.1)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(scores.grad, reference.grad, rtol=1e-5, atol=1e-7)


def test_without_masked_patches_loss_and_gradient_are_exactly_zero():
    scores, targets = random_patches(0)
    loss = masked_patch_entropy(scores * 1, targets, torch.zeros(0, dtype=torch.long), 4, 0.1)
    loss.backward()
    assert loss == 0 and not loss.signbit()
    assert scores.grad.shape == (0, PROTOTYPES)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_computed_in_float32_under_any_autocast(dtype):
    scores, targets = random_patches(6)
    scores, targets = scores.detach().to(dtype), targets.to(dtype)
    image = torch.tensor([0, 0, 1, 1, 1, 3])
    expected = masked_patch_entropy(scores.float(), targets.float(), image, 4, 0.1)
    with torch.autocast('cpu', dtype=dtype):
        loss = masked_patch_entropy(scores, targets, image, 4, 0.1)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


def make_step(masks=None, progress=0.0, dim=4):
    """Two views of three images of 2 x 3 patches."""
    torch.manual_seed(0)
    student, teacher = nn.Linear(dim, PROTOTYPES), nn.Linear(dim, PROTOTYPES).requires_grad_(False)
    student_patches, teacher_patches = torch.randn(2, 2, 3, 2, 3, dim)
    views = ViewBatch(torch.zeros(2, 3, 3, 4, 6))
    return Step(
        views=views if masks is None else views.with_masks(masks),
        student_global=Tokens(torch.zeros(2, 3, dim), student_patches.requires_grad_()),
        student_local=None,
        teacher_global=Tokens(torch.zeros(2, 3, dim), teacher_patches),
        student_heads={'patch': student},
        teacher_heads={'patch': teacher},
        progress=progress,
    )


def random_masks():
    masks = torch.rand(2, 3, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.4
    masks[1, 0] = False
    return masks


def make_loss(**arguments):
    return IBOTPatchLoss('patch', Centering(PROTOTYPES), **arguments)


def plain_loss(step, masks, teacher_temperature=0.04):
    """Views, images and patches one by one; the teacher's prediction is that of the same patch of the same view."""
    student, teacher = step.student_heads['patch'], step.teacher_heads['patch']
    images = []
    for view in range(2):
        for image in range(3):
            entropies = [torch.zeros(())]
            for row, column in masks[view, image].nonzero().tolist():
                target = teacher(step.teacher_global.patches[view, image, row, column]) / teacher_temperature
                scores = student(step.student_global.patches[view, image, row, column]) / 0.1
                entropies.append(-(target.softmax(-1) * scores.log_softmax(-1)).sum())
            images.append(torch.stack(entropies).sum() / max(1, len(entropies) - 1))
    return torch.stack(images).mean()


def test_each_masked_patch_is_compared_with_the_teachers_same_patch_of_the_same_view():
    masks = random_masks()
    step = make_step(masks, progress=0.5)
    loss = make_loss(teacher_temperature=Cosine(0.04, 0.08))
    value = loss(step)
    torch.testing.assert_close(value, plain_loss(step, masks, teacher_temperature=0.06))
    masked = step.teacher_heads['patch'](step.teacher_global.patches[masks])
    torch.testing.assert_close(loss.target.center, 0.1 * masked.mean(0))


def test_visible_patches_of_student_and_teacher_change_nothing_and_have_no_gradient():
    masks = random_masks()
    step = make_step(masks)
    value = make_loss()(step)
    value.backward()
    assert (step.student_global.patches.grad[~masks] == 0).all()
    assert (step.student_global.patches.grad[masks] != 0).all()
    noise = torch.randn_like(step.teacher_global.patches) * ~masks[..., None]
    student, teacher = (
        tokens._replace(patches=tokens.patches + noise) for tokens in (step.student_global, step.teacher_global)
    )
    assert torch.equal(make_loss()(step._replace(student_global=student, teacher_global=teacher)), value)


def test_the_order_of_images_does_not_matter():
    masks, order = random_masks(), [2, 0, 1]
    step = make_step(masks)
    student, teacher = (
        tokens._replace(patches=tokens.patches[:, order]) for tokens in (step.student_global, step.teacher_global)
    )
    reordered = step._replace(
        student_global=student, teacher_global=teacher, views=step.views.with_masks(masks[:, order])
    )
    torch.testing.assert_close(make_loss()(reordered), make_loss()(step))


@pytest.mark.parametrize('masks', [None, random_masks()], ids=['no masks', 'masks'])
def test_all_patches_can_be_compared_whatever_is_masked(masks):
    step = make_step(masks)
    value = make_loss(patches='all')(step)
    torch.testing.assert_close(value, plain_loss(step, torch.ones(2, 3, 2, 3, dtype=torch.bool)))
    value.backward()
    assert (step.student_global.patches.grad != 0).all()


def test_the_students_temperature_sharpens_its_prediction():
    step = make_step(random_masks())
    scaled = dict(step.student_heads, patch=nn.Sequential(step.student_heads['patch'], Doubled()))
    torch.testing.assert_close(
        make_loss(student_temperature=0.2)(step._replace(student_heads=scaled)), make_loss()(step)
    )


class Doubled(nn.Module):
    def forward(self, scores):
        return 2 * scores


@pytest.mark.parametrize('target', [Centering(8), SinkhornKnopp()], ids=['centering', 'sinkhorn'])
def test_a_batch_in_which_nothing_is_masked_trains_nothing_and_breaks_nothing(target):
    """The head's gradient is zero, not missing: DDP waits for every gradient."""
    model = make(losses={'ibot': IBOTPatchLoss('cls', target)})
    loss = model(make_views(num_masked=[0] * 8), 0.0)['ibot']
    loss.backward()
    assert loss == 0
    for name, parameter in model.student.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name
    assert all(torch.equal(value, torch.zeros_like(value)) for value in target.state_dict().values())
    assert model(make_views(num_masked=[3] * 8), 0.0)['ibot'].isfinite()


def gradients(losses, heads):
    model = make(heads=heads(), losses=losses)
    sum(model(make_views(num_masked=[4] * 8), 0.0).values()).backward()
    return {name: parameter.grad for name, parameter in model.student.heads.named_parameters()}


def test_a_shared_head_learns_from_both_losses_and_separate_heads_from_their_own():
    def dino():
        return {'dino': DINOLoss('cls', Centering(8))}

    def ibot(head):
        return {'ibot': IBOTPatchLoss(head, Centering(8))}

    def one(name='cls'):
        return lambda: {name: make_head()}

    by_dino, by_ibot = gradients(dino(), one()), gradients(ibot('cls'), one())
    shared = gradients(dino() | ibot('cls'), one())
    separate = gradients(dino() | ibot('patch'), lambda: {'cls': make_head(), 'patch': make_head()})
    learnt = [name.removeprefix('cls.') for name, gradient in by_dino.items() if gradient is not None]
    assert len(learnt) == 7  # three layers and the prototypes' directions
    for name in learnt:
        assert by_ibot[f'cls.{name}'].norm() > 0
        torch.testing.assert_close(shared[f'cls.{name}'], by_dino[f'cls.{name}'] + by_ibot[f'cls.{name}'])
        torch.testing.assert_close(separate[f'cls.{name}'], by_dino[f'cls.{name}'])
        torch.testing.assert_close(separate[f'patch.{name}'], by_ibot[f'cls.{name}'])


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r'student_temperature=0\.0 must be positive'):
        make_loss(student_temperature=0.0)
    with pytest.raises(ValueError, match="patches='visible' must be 'masked' or 'all'"):
        make_loss(patches='visible')


def test_a_batch_without_masks_is_refused_with_the_cure():
    with pytest.raises(ValueError, match=r'no masks; set collate_fn=dict\(type="dino_plugin\.masked_collate"'):
        make_loss()(make_step())


def test_different_grids_of_student_and_teacher_are_refused():
    step = make_step()
    teacher = step.teacher_global._replace(patches=torch.zeros(2, 3, 4, 6, 4))
    with pytest.raises(ValueError, match=r'\(2, 3\) patches and the teacher \(4, 6\)'):
        make_loss(patches='all')(step._replace(teacher_global=teacher))
