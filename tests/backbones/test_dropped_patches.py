"""Masked patches that the network leaves out: the computation by hand, what cannot be seen, what is refused."""

import pytest
import torch
from networks import randomised
from test_timm_backbone import NETWORKS

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.masking import random_masks
from dino_plugin.core.views import ViewBatch


def make(kind='plain', **changes):
    torch.manual_seed(0)
    name, arguments = NETWORKS[kind]
    backbone = TimmBackbone(name, **{**arguments, 'drop_masked': True, **changes})
    randomised(backbone.model)
    return backbone.eval()


def draw_masks(*numbers, rows=4, columns=6):
    return random_masks(torch.tensor(numbers), rows, columns, torch.Generator().manual_seed(5))


@pytest.mark.parametrize('kind', ['plain', 'registers'])
def test_only_visible_patches_pass_the_blocks(kind):
    backbone, images, masks = make(kind), torch.randn(2, 3, 32, 48), draw_masks(15, 15)
    entering = []
    backbone.model.norm_pre.register_forward_hook(lambda _, inputs, __: entering.append(inputs[0]))
    found = backbone(images, masks=masks)
    prefix = backbone.model.num_prefix_tokens
    for image, (tokens, mask) in enumerate(zip(entering[0], masks.flatten(1))):
        alone = torch.cat([tokens[:prefix], tokens[prefix:][~mask]])[None]
        alone = backbone.model.norm(backbone.model.blocks(alone))[0]
        assert torch.allclose(found.class_token[image], alone[0], atol=1e-5)
        assert torch.allclose(found.patches[image][~masks[image]], alone[prefix:], atol=1e-5)
    assert not found.patches[masks].any()


def test_without_masks_and_with_nothing_masked_it_is_the_whole_network():
    images, nothing = torch.randn(2, 3, 32, 48), draw_masks(0, 0)
    whole = make(drop_masked=False)(images)
    for found in (make()(images), make()(images, masks=nothing)):
        assert torch.allclose(found.class_token, whole.class_token, atol=1e-5)
        assert torch.allclose(found.patches, whole.patches, atol=1e-5)


@pytest.mark.parametrize('changes', [{}, {'gradient_checkpointing': True}])
def test_no_gradient_reaches_masked_pixels_and_one_reaches_every_visible_patch(changes):
    backbone, masks = make(**changes).train(), draw_masks(10, 10)
    images = torch.randn(2, 3, 32, 48, requires_grad=True)
    backbone(images, masks=masks).class_token.square().sum().backward()
    seen = images.grad.abs().sum(dim=1).unflatten(1, (4, 8)).unflatten(3, (6, 8)).sum(dim=(2, 4)) > 0
    assert torch.equal(seen, ~masks)


def test_local_views_beside_them_are_whole():
    backbone = make()
    views = ViewBatch(torch.randn(2, 2, 3, 32, 48), torch.randn(3, 2, 3, 16, 16))
    views = views.with_masks(draw_masks(15, 15, 15, 15).unflatten(0, (2, 2)))
    large, small = backbone.forward_together(views)
    assert torch.equal(large.patches.abs().sum(dim=-1) == 0, views.masks)
    assert torch.allclose(small.class_token, backbone(views.local_views).class_token, atol=1e-5)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r'leave 9 to 12 patches.*share=1.0'):
        make()(torch.randn(2, 3, 32, 48), masks=draw_masks(12, 15))
    with pytest.raises(ValueError, match='drop_masked=True needs a plain vision transformer'):
        make('rope')
