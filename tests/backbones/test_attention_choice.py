"""Which program computes attention, and that both say the same."""

import copy

import pytest
import timm
import torch
from networks import randomised
from test_timm_backbone import NETWORKS

from dino_plugin.backbones.timm_backbone import TimmBackbone


def make(kind='plain'):
    name, arguments = NETWORKS[kind]
    return randomised(TimmBackbone(name, **arguments))


def choices(backbone):
    return {block.attn.fused_attn for block in backbone.model.blocks}


@pytest.mark.parametrize('kind', ['plain', 'rope'])
def test_on_a_cpu_half_precision_takes_the_formula_and_float32_the_fused_function(kind):
    backbone, images = make(kind), torch.randn(2, 3, 32, 32)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast('cpu', dtype):
            backbone(images)
        assert choices(backbone) == {False}
        backbone.intermediates(images, [-1])
        assert choices(backbone) == {True}, 'each pass has its own'
    backbone.bfloat16()(images.bfloat16())
    assert choices(backbone) == {False}
    assert choices(copy.deepcopy(backbone).float()) == {False}
    copied = copy.deepcopy(backbone).float()
    copied(images)
    assert (choices(copied), choices(backbone)) == ({True}, {False}), 'a copy chooses for itself'


@pytest.mark.parametrize('patches', [True, False])
def test_both_give_the_same_in_float32_values_and_gradients(patches):
    backbone, images, results = make().double(), torch.randn(2, 3, 32, 32).double(), []
    for fused in (True, False):
        for block in backbone.model.blocks:
            block.attn.fused_attn = fused
        backbone.attention_choice.attentions = []  # nobody chooses
        backbone.zero_grad()
        class_token = backbone(images, patches=patches).class_token
        class_token[:, ::3].sum().backward()
        results.append([class_token, *(parameter.grad for parameter in backbone.parameters())])
    torch.testing.assert_close(*results)


def test_half_precision_is_as_near_to_float32_as_its_digits():
    backbone, images = make(), torch.randn(2, 3, 32, 32)
    expected = backbone(images).class_token
    with torch.autocast('cpu', torch.bfloat16):
        found = backbone(images).class_token
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_what_timm_was_told_not_to_fuse_stays_so():
    timm.layers.set_fused_attn(False)
    try:
        backbone = make()
    finally:
        timm.layers.set_fused_attn(True)
    backbone(torch.randn(1, 3, 32, 32))
    assert choices(backbone) == {False}
