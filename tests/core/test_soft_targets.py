"""The cross-entropy with its own backward pass, against autograd on the plain formula."""

import pytest
import torch

from dino_plugin.core.losses.soft_targets import soft_cross_entropy


def plain(scores, targets, weights, temperature):
    log_probabilities = (scores.float() / temperature).log_softmax(dim=-1)
    return sum(-weight * (row * logs).sum() for weight, row, logs in zip(weights, targets, log_probabilities))


def make(samples=7, prototypes=33, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(samples, prototypes, generator=generator).to(dtype).requires_grad_()
    targets = (3 * torch.randn(samples, prototypes, generator=generator)).softmax(dim=-1)
    return scores, targets, torch.rand(samples, generator=generator)


def gradient_of(function, scores, *arguments):
    scores = scores.detach().clone().requires_grad_()
    loss = function(scores, *arguments)
    (3 * loss).backward()
    return loss.detach(), scores.grad


@pytest.mark.parametrize('temperature', [0.01, 0.1, 1.0, 10.0])
def test_value_and_gradient_are_those_of_the_plain_formula(temperature):
    found = gradient_of(soft_cross_entropy, *make(), temperature)
    torch.testing.assert_close(found, gradient_of(plain, *make(), temperature))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_scores_of_half_precision_are_computed_in_float32_under_autocast(dtype):
    arguments = make(dtype=dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, gradient = gradient_of(soft_cross_entropy, *arguments, 0.1)
    expected, expected_gradient = gradient_of(plain, *arguments, 0.1)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_the_gradient_follows_targets_whose_sums_are_not_quite_one():
    scores, targets, weights = make()
    arguments = scores, 1.01 * targets, weights, 0.1
    torch.testing.assert_close(gradient_of(soft_cross_entropy, *arguments), gradient_of(plain, *arguments))


def test_only_the_scores_receive_a_gradient():
    scores, targets, weights = make()
    targets.requires_grad_()
    soft_cross_entropy(scores, targets, weights, 0.1).backward()
    assert targets.grad is None


def test_what_is_kept_for_the_backward_pass_is_one_tensor_of_the_size_of_the_scores():
    scores, targets, weights = make(dtype=torch.bfloat16)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        soft_cross_entropy(scores, targets, weights, 0.1)
    assert [(tensor.shape, tensor.dtype) for tensor in kept] == [(scores.shape, torch.bfloat16)]


def test_scores_of_any_size_stay_finite():
    scores, targets, weights = make()
    loss, gradient = gradient_of(soft_cross_entropy, scores * 1e6, targets, weights, 0.01)
    assert loss.isfinite() and gradient.isfinite().all()
