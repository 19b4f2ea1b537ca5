import pytest
import torch
from mmengine.optim import build_optim_wrapper
from networks import randomised
from test_timm_backbone import NETWORKS
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.checkpoint import backbone_state
from dino_plugin.weights.safe_loading import load_checkpoint

PATCHED = ['plain', 'registers', 'rope']  # networks whose patches do not overlap


def make(kind, mask_token=True, **changes):
    """A backbone in which each tensor matters; the mask token too, which starts at zero."""
    name, arguments = NETWORKS[kind]
    backbone = TimmBackbone(name, mask_token=mask_token, **{**arguments, **changes})
    randomised(backbone.model)
    if mask_token:
        nn.init.normal_(backbone.mask_token)
    return backbone.eval()


def some_masked(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5)) < 0.4


def with_other_pixels(images, masks):
    """Noise in the pixels below masked patches of 8 pixels, the others as they are."""
    below = masks.repeat_interleave(8, dim=-2).repeat_interleave(8, dim=-1)[..., : images.shape[-2], : images.shape[-1]]
    return torch.where(below.unsqueeze(-3), torch.randn_like(images) * 10, images)


def all_equal(a, b):
    return torch.equal(a.class_token, b.class_token) and torch.equal(a.patches, b.patches)


@pytest.mark.parametrize('kind', [*PATCHED, 'average pooled', 'hybrid'])
@pytest.mark.parametrize('size', [(32, 32), (32, 48), (30, 33)])
def test_an_empty_mask_changes_nothing(kind, size):
    backbone = make(kind)
    images = torch.randn(2, 3, *size)
    nothing = torch.zeros(2, -(-size[0] // 8), -(-size[1] // 8), dtype=torch.bool)
    assert all_equal(backbone(images, masks=nothing), backbone(images))
    assert all_equal(backbone(images, masks=nothing), make(kind, mask_token=False)(images))


@pytest.mark.parametrize('kind', [*PATCHED, 'average pooled'])
@pytest.mark.parametrize('size', [(32, 32), (32, 48), (30, 33)])
def test_masked_pixels_cannot_influence_the_output(kind, size):
    backbone = make(kind)
    images = torch.randn(2, 3, *size)
    masks = some_masked(2, -(-size[0] // 8), -(-size[1] // 8))
    others = with_other_pixels(images, masks)
    assert all_equal(backbone(images, masks=masks), backbone(others, masks=masks))
    assert not torch.allclose(backbone(images).class_token, backbone(others).class_token)


@pytest.mark.parametrize('kind', PATCHED)
def test_visible_pixels_influence_every_token(kind):
    backbone = make(kind)
    images, masks = torch.randn(2, 3, 32, 32), some_masked(2, 4, 4)
    others = with_other_pixels(images, ~masks)
    a, b = backbone(images, masks=masks), backbone(others, masks=masks)
    assert not torch.isclose(a.patches, b.patches).all(-1).any()


def test_behind_a_convolutional_stem_neighbours_still_see_masked_pixels():
    """The stem looks over the edges of a patch; only an image that is masked as a whole is masked indeed."""
    backbone = make('hybrid')
    images, masks = torch.randn(2, 3, 32, 32), some_masked(2, 4, 4)
    assert not all_equal(backbone(images, masks=masks), backbone(with_other_pixels(images, masks), masks=masks))
    everything = torch.ones_like(masks)
    assert all_equal(backbone(images, masks=everything), backbone(torch.randn_like(images), masks=everything))


def test_views_and_images_have_masks_of_their_own():
    backbone = make('rope')
    images, masks = torch.randn(2, 3, 3, 32, 32), some_masked(2, 3, 4, 4)
    together = backbone(images, masks=masks)
    for view in range(2):
        for image in range(3):
            alone = backbone(images[view, image], masks=masks[view, image])
            torch.testing.assert_close(together.patches[view, image], alone.patches, atol=1e-5, rtol=1e-5)


def slow_masked_vit(backbone, images, masks):
    """timm's plain transformer by hand: embed, exchange, add positions, run the blocks, normalise."""
    model = backbone.model
    embedding = model.patch_embed.proj(images).flatten(2).mT
    exchanged = []
    for image in range(len(images)):
        rows = []
        for place, masked in enumerate(masks[image].flatten()):
            rows.append(backbone.mask_token[0] if masked else embedding[image, place])
        exchanged.append(torch.stack(rows))
    tokens = torch.cat([model.cls_token.expand(len(images), -1, -1), torch.stack(exchanged)], dim=1) + model.pos_embed
    for block in model.blocks:
        tokens = block(tokens)
    return model.norm(tokens)


def test_the_mask_token_stands_in_before_positions_are_added():
    backbone, images, masks = make('plain'), torch.randn(2, 3, 32, 32), some_masked(2, 4, 4)
    found = backbone(images, masks=masks)
    expected = slow_masked_vit(backbone, images, masks)
    torch.testing.assert_close(found.class_token, expected[:, 0])
    torch.testing.assert_close(found.patches.flatten(1, 2), expected[:, 1:])
    direction = torch.randn_like(found.patches)
    (found.patches * direction).sum().backward()
    gradient = backbone.mask_token.grad.clone()
    backbone.zero_grad()
    (expected[:, 1:] * direction.flatten(1, 2)).sum().backward()
    torch.testing.assert_close(gradient, backbone.mask_token.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', PATCHED)
def test_masked_patches_differ_by_their_position_only(kind):
    """Where everything is masked, each image gives the same tokens, and places are still told apart."""
    tokens = make(kind)(torch.randn(2, 3, 32, 32), masks=torch.ones(2, 4, 4, dtype=torch.bool))
    torch.testing.assert_close(tokens.patches[0], tokens.patches[1])
    places = tokens.patches[0].flatten(0, 1)
    assert torch.pdist(places).min() > 1e-3


@pytest.mark.parametrize('kind', [*PATCHED, 'hybrid'])
def test_the_mask_token_learns_from_masked_places_only(kind):
    """And gets a gradient, of zeros, if none is masked: DistributedDataParallel waits for one."""
    backbone, images = make(kind), torch.randn(2, 3, 32, 32)
    embedded = []
    backbone.model.patch_embed.register_forward_hook(
        lambda module, inputs, output: embedded.append(output.retain_grad() or output)
    )
    masks = some_masked(2, 4, 4)
    backbone(images, masks=masks).patches.square().sum().backward()
    (before_masking,) = embedded
    gradient = before_masking.grad.reshape(2, 4, 4, -1)
    assert torch.equal(gradient.abs().sum(-1) == 0, masks)
    assert backbone.mask_token.grad.abs().min() > 0

    backbone.zero_grad()
    backbone(images, masks=torch.zeros_like(masks)).patches.square().sum().backward()
    assert torch.equal(backbone.mask_token.grad, torch.zeros_like(backbone.mask_token))


def test_the_next_call_is_whole_again_also_after_an_error():
    backbone, images, masks = make('plain'), torch.randn(2, 3, 32, 32), some_masked(2, 4, 4)
    whole = backbone(images)
    assert not all_equal(backbone(images, masks=masks), whole)
    assert all_equal(backbone(images), whole)

    stumble = backbone.model.blocks[1].register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backbone(images, masks=masks)
    stumble.remove()
    assert all_equal(backbone(images), whole)
    assert not any(module._forward_hooks for module in backbone.modules())


def test_masks_need_a_mask_token_and_the_grid_of_the_images():
    images, masks = torch.randn(2, 3, 32, 48), some_masked(2, 4, 6)
    with pytest.raises(ValueError, match='the views have masks; build it with mask_token=True'):
        make('plain', mask_token=False)(images, masks=masks)
    with pytest.raises(
        ValueError, match=r'masks of \(2, 6, 4\) for images of \(2, 4, 6\) patches; .*patch_size=\(8, 8\)'
    ):
        make('plain')(images, masks=masks.mT)
    with pytest.raises(ValueError, match='resnet10t has no patches that a mask token could replace'):
        TimmBackbone('resnet10t', mask_token=True)


def test_the_mask_token_starts_at_zero_and_learns_as_the_embedding_does():
    name, arguments = NETWORKS['plain']
    backbone = TimmBackbone(name, mask_token=True, **arguments)
    assert torch.equal(backbone.mask_token, torch.zeros(1, 24))
    distances = backbone.layers_to_output()
    assert distances['mask_token'] == distances['model.patch_embed.proj.weight'] == max(distances.values())
    wrapper = build_optim_wrapper(
        nn.ModuleDict({'backbone': backbone}),
        dict(
            type='dino_plugin.SelfDistillationOptimWrapper',
            constructor='dino_plugin.ParameterGroups',
            precision='fp32',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.04),
            paramwise_cfg=dict(layer_decay=0.5),
        ),
    )
    group_of = {id(parameter): group for group in wrapper.param_groups for parameter in group['params']}
    mask_token, patch = group_of[id(backbone.mask_token)], group_of[id(backbone.model.patch_embed.proj.weight)]
    assert mask_token is patch
    assert mask_token['weight_decay'] == 0.04
    assert mask_token['lr'] == 0.1 * 0.5 ** distances['mask_token']


@pytest.mark.parametrize('kind', PATCHED)
def test_checkpoints_of_either_kind_fit_since_mask_token_and_local_norm_are_no_part_of_the_network(kind, tmp_path):
    name, arguments = NETWORKS[kind]
    training, images = make(kind, local_norm=True), torch.randn(2, 3, 32, 32)
    state = {f'distillation.teacher.backbone.{key}': value for key, value in training.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'backbone': training.description}}, tmp_path / 'training.pth')

    found = backbone_state(load_checkpoint(tmp_path / 'training.pth'))
    assert found.keys() == training.model.state_dict().keys()
    exported = export_backbone(tmp_path / 'training.pth', tmp_path / 'out')
    for path in (tmp_path / 'training.pth', exported):
        for extras in ({}, dict(mask_token=True, local_norm=True)):
            again = TimmBackbone(name, checkpoint=str(path), **extras, **arguments).eval()
            assert all_equal(again(images), training(images))

    torch.save(found, tmp_path / 'plain.pth')
    masked = TimmBackbone(name, checkpoint=str(tmp_path / 'plain.pth'), mask_token=True, **arguments).eval()
    assert all_equal(masked(images), training(images))
