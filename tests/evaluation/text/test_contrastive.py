"""The contrastive losses against their equations; two processes are one."""

import pytest
import torch
from processes import run_in_processes
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from dino_plugin.evaluation.text.contrastive import ContrastiveLoss

pytest.importorskip('open_clip', reason='pip install "dino_plugin[text]"')


def pairs(number, dim=6):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(number, dim, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))


def slow_loss(images, texts, loss):
    images, texts = normalize(images, dim=-1), normalize(texts, dim=-1)
    scores = loss.scale * images @ texts.T
    if loss.kind == 'softmax':
        own = torch.arange(len(images))
        return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    signs = 2 * torch.eye(len(images), dtype=scores.dtype) - 1
    return -logsigmoid(signs * (scores + loss.bias)).sum() / len(images)


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid'])
def test_the_loss_is_its_equation(kind):
    loss = ContrastiveLoss(kind).double()
    images, texts = pairs(5)
    torch.testing.assert_close(loss(images, texts), slow_loss(images, texts, loss))
    loss.log_scale.data.fill_(9.0)
    loss.limit_scale()
    assert loss(images, texts).isfinite() and loss.scale.item() == pytest.approx(100)


def compare_with_one_process(rank, kind):
    loss, whole = ContrastiveLoss(kind).double(), ContrastiveLoss(kind).double()
    images, texts = pairs(6)
    expected = slow_loss(images, texts, whole)
    expected.backward()
    own = slice(3 * rank, 3 * rank + 3)
    mine = [each.detach()[own].requires_grad_() for each in (images, texts)]
    found = loss(*mine)
    found.backward()
    mean = found.detach().clone()
    torch.distributed.all_reduce(mean)
    torch.testing.assert_close(mean / 2, expected.detach())
    for each, of_all in zip(mine, (images, texts)):  # averaged over the processes
        torch.testing.assert_close(each.grad / 2, of_all.grad[own])
    for name, parameter in loss.named_parameters():
        torch.distributed.all_reduce(parameter.grad)
        torch.testing.assert_close(parameter.grad / 2, whole.get_parameter(name).grad)


def compare_both_kinds(rank):
    for kind in ('softmax', 'sigmoid'):
        compare_with_one_process(rank, kind)


def test_two_processes_are_one_with_their_pairs():
    run_in_processes(compare_both_kinds)


def test_scale_and_bias_begin_as_given():
    loss = ContrastiveLoss('sigmoid', scale=5.0, bias=-3.0)
    assert (loss.scale.item(), loss.bias.item()) == pytest.approx((5, -3))
    assert ContrastiveLoss('sigmoid').scale.item() == pytest.approx(10) and ContrastiveLoss().bias is None
    with pytest.raises(ValueError, match=r'within 1 and 100, got 0\.5'):
        ContrastiveLoss(scale=0.5)
    with pytest.raises(ValueError, match="got 'clip'"):
        ContrastiveLoss('clip')
