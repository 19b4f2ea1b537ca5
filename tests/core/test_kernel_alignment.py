"""Kernel alignment: the equation written out, what must not matter, gradients."""

import pytest
import torch

from dino_plugin.core.losses.base import Step
from dino_plugin.core.losses.kernel_alignment import KernelAlignmentLoss, kernel_alignment
from dino_plugin.core.views import Tokens, ViewBatch


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(student, teacher):
    """CKA of one image with explicit kernels and centring matrix."""
    number = len(student)
    centring = torch.eye(number, dtype=student.dtype) - 1 / number
    kernel, target = (centring @ (part @ part.T) @ centring for part in (student, teacher))
    inner = sum(float(kernel[i, j] * target[i, j]) for i in range(number) for j in range(number))
    return inner / float(kernel.square().sum().sqrt() * target.square().sum().sqrt())


def test_it_is_the_equation_for_networks_of_any_widths():
    student, teacher = draw(3, 7, 5), draw(3, 7, 9, seed=1)
    found = kernel_alignment(student, teacher)
    assert found.tolist() == pytest.approx([by_hand(a, b) for a, b in zip(student, teacher)])
    assert (found > 0).all() and (found < 1).all()


def test_shift_rotation_and_scale_of_one_network_change_nothing():
    student, teacher = draw(2, 6, 4), draw(2, 6, 4, seed=1)
    rotation = torch.linalg.qr(draw(4, 4, seed=2)).Q
    moved = 3.5 * student @ rotation + draw(4, seed=3)
    assert torch.allclose(kernel_alignment(moved, teacher), kernel_alignment(student, teacher))
    assert torch.allclose(kernel_alignment(moved, student), torch.ones(2, dtype=torch.float64))


def test_the_order_of_patches_matters_only_between_the_networks():
    student, teacher = draw(1, 6, 4), draw(1, 6, 4, seed=1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.allclose(kernel_alignment(student[:, order], teacher[:, order]), kernel_alignment(student, teacher))
    assert not torch.allclose(kernel_alignment(student[:, order], teacher), kernel_alignment(student, teacher))


def test_gradients_are_those_of_the_equation_and_finite_for_equal_patches():
    student, teacher = draw(2, 5, 3).requires_grad_(), draw(2, 5, 3, seed=1)
    assert torch.autograd.gradcheck(lambda tensor: kernel_alignment(tensor, teacher), student)
    equal = torch.ones(1, 4, 3, requires_grad=True)
    kernel_alignment(equal, draw(1, 4, 3).float()).sum().backward()
    assert equal.grad.isfinite().all()


def test_it_is_computed_in_float32_under_autocast():
    student, teacher = draw(2, 6, 4).float(), draw(2, 6, 4, seed=1).float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(kernel_alignment(student, teacher), kernel_alignment(student, teacher))
        inside = kernel_alignment(student, teacher)
    assert torch.equal(inside, kernel_alignment(student, teacher))


def test_the_loss_compares_each_view_of_each_image_with_itself():
    student, teacher = draw(2, 3, 2, 4, 5).float(), draw(2, 3, 2, 4, 6, seed=1).float()
    tokens = (Tokens(patches[:, :, 0, 0], patches) for patches in (student, teacher))
    step = Step(ViewBatch(torch.zeros(2, 3, 3, 4, 8)), next(tokens), None, next(tokens), {}, {}, 0.0)
    expected = [
        by_hand(student[view, image].flatten(0, 1).double(), teacher[view, image].flatten(0, 1).double())
        for view in range(2)
        for image in range(3)
    ]
    assert float(KernelAlignmentLoss()(step)) == pytest.approx(1 - sum(expected) / 6, abs=1e-5)


def test_the_mean_over_two_ranks_of_equal_batches_is_that_of_all_images():
    student, teacher = draw(8, 6, 4), draw(8, 6, 4, seed=1)
    halves = [kernel_alignment(student[part], teacher[part]).mean() for part in (slice(0, 4), slice(4, 8))]
    assert float(sum(halves) / 2) == pytest.approx(float(kernel_alignment(student, teacher).mean()))
