"""The cross-entropy with its own backward pass, against autograd on the plain formula."""

import pytest
import torch

from dino_plugin.core.losses.soft_targets import soft_cross_entropy

TARGETS_OF = [(1,), (0, 1), (0,)]


def plain(scores, targets, weights, temperature, targets_of):
    log_probabilities = (scores.float() / temperature).log_softmax(dim=-1)
    return sum(
        -weights[view, sample] * (targets[number, sample] * log_probabilities[view, sample]).sum() / len(numbers)
        for view, numbers in enumerate(targets_of)
        for number in numbers
        for sample in range(scores.shape[1])
    )


def make(samples=7, prototypes=33, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, samples, prototypes, generator=generator).to(dtype).requires_grad_()
    targets = (3 * torch.randn(2, samples, prototypes, generator=generator)).softmax(dim=-1)
    return scores, targets, torch.rand(3, samples, generator=generator)


def gradient_of(function, scores, *arguments):
    scores = scores.detach().clone().requires_grad_()
    loss = function(scores, *arguments)
    (3 * loss).backward()
    return loss.detach(), scores.grad


@pytest.mark.parametrize('temperature', [0.01, 0.1, 1.0, 10.0])
def test_value_and_gradient_are_those_of_the_plain_formula(temperature):
    found = gradient_of(soft_cross_entropy, *make(), temperature, TARGETS_OF)
    torch.testing.assert_close(found, gradient_of(plain, *make(), temperature, TARGETS_OF))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_scores_of_half_precision_are_computed_in_float32_under_autocast(dtype):
    arguments = make(dtype=dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, gradient = gradient_of(soft_cross_entropy, *arguments, 0.1, TARGETS_OF)
    expected, expected_gradient = gradient_of(plain, *arguments, 0.1, TARGETS_OF)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize('size', [1, 4 * 33 * 3])
def test_how_many_samples_are_worked_on_at_once_changes_nothing(monkeypatch, size):
    whole = gradient_of(soft_cross_entropy, *make(), 0.1, TARGETS_OF)
    monkeypatch.setattr('dino_plugin.core.losses.soft_targets.PIECE', size)
    torch.testing.assert_close(gradient_of(soft_cross_entropy, *make(), 0.1, TARGETS_OF), whole, rtol=0, atol=0)


def test_targets_whose_sums_are_not_quite_one_count_as_they_are():
    scores, targets, weights = make()
    arguments = scores, 1.01 * targets, weights, 0.1, TARGETS_OF
    torch.testing.assert_close(gradient_of(soft_cross_entropy, *arguments), gradient_of(plain, *arguments))


def test_only_the_scores_receive_a_gradient():
    scores, targets, weights = make()
    targets.requires_grad_()
    soft_cross_entropy(scores, targets, weights, 0.1, TARGETS_OF).backward()
    assert targets.grad is None


def test_what_is_kept_for_the_backward_pass_is_one_tensor_of_the_size_of_the_scores():
    scores, targets, weights = make(dtype=torch.bfloat16)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        soft_cross_entropy(scores, targets, weights, 0.1, TARGETS_OF)
    assert [(tensor.shape, tensor.dtype) for tensor in kept] == [(scores.shape, torch.bfloat16)]


def test_scores_of_any_size_stay_finite():
    scores, targets, weights = make()
    loss, gradient = gradient_of(soft_cross_entropy, scores * 1e6, targets, weights, 0.01, TARGETS_OF)
    assert loss.isfinite() and gradient.isfinite().all()


def test_what_becomes_of_one_gradient_does_not_change_the_next():
    scores, *arguments = make()
    loss = soft_cross_entropy(scores, *arguments, 0.1, TARGETS_OF)
    loss.backward(retain_graph=True)
    first = scores.grad.clone()
    scores.grad.mul_(5)
    scores.grad = None
    loss.backward()
    assert torch.equal(scores.grad, first)
