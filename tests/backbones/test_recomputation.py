"""What a backward pass computes again: the same gradients, fewer products, less memory."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dino_plugin.backbones.recomputation import PRODUCTS
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.views import ViewBatch
from dino_plugin.plan.live_bytes import LiveBytes


def make(name='vit_tiny_patch16_224', **changes):
    torch.manual_seed(0)
    small = {} if name == 'resnet10t' else dict(embed_dim=48, depth=6, num_heads=3, patch_size=8, img_size=64)
    return TimmBackbone(name, **small, **changes)


def step(choice, mode, half=False):
    """Gradients of a network on two sizes of images, and the mode that was on meanwhile."""
    backbone = make(drop_path_rate=0.2, gradient_checkpointing=choice).train()
    views = ViewBatch(torch.randn(2, 16, 3, 64, 64), torch.randn(3, 16, 3, 32, 32))
    with mode(backbone) as found:
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            first, second = backbone.forward_together(views, local_patches=False)
        (first.patches.square().sum() + second.class_token.square().sum()).backward()
    return [parameter.grad for parameter in backbone.parameters()], found


def test_products_can_be_kept_and_the_rest_computed_again():
    plain, kept, again = (step(choice, lambda _: FlopCounterMode(display=False)) for choice in (False, PRODUCTS, True))
    for one, other, third in zip(plain[0], kept[0], again[0], strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)
    whole, with_products, without = (mode.get_total_flops() for _, mode in (plain, kept, again))
    assert with_products == whole
    assert 1.25 * whole < without < 1.34 * whole  # the forward pass of the blocks, a third of all
    most, between, least = (
        step(choice, lambda backbone: LiveBytes(list(backbone.parameters())))[1].peak
        for choice in (False, PRODUCTS, True)
    )
    assert least < between / 2 and between < 0.8 * most


def test_products_can_be_kept_under_autocast_too():
    gradients = [step(choice, lambda _: nullcontext(), half=True)[0] for choice in (False, PRODUCTS)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2 * one.abs().max().item())


@pytest.mark.parametrize(('name', 'changes', 'message'), [
    ('vit_tiny_patch16_224', dict(gradient_checkpointing='products'), "'products', expected True, False or 'all but"),
    ('vit_tiny_patch16_224', dict(gradient_checkpointing=PRODUCTS, compile_blocks=True), 'are not compiled; use True'),
    ('resnet10t', dict(gradient_checkpointing=PRODUCTS), 'is for plain vision transformers'),
])  # fmt: skip
def test_what_cannot_be_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        make(name, **changes)
