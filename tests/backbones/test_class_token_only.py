"""The last block computed for the class token alone, where nobody reads the patches."""

import itertools

import pytest
import torch
from networks import randomised
from test_timm_backbone import NETWORKS
from timm.layers import Mlp

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.views import ClassTokenOnly, Tokens


class MixingMlp(Mlp):
    """Looks at other tokens than its own."""

    def forward(self, x):
        return super().forward(x) + x.mean(dim=1, keepdim=True)


SMALL = NETWORKS['plain'][1]
KINDS = {
    **{kind: NETWORKS[kind] for kind in ('plain', 'registers', 'rope', 'hybrid')},
    'one block': ('vit_tiny_patch16_224', {**SMALL, 'depth': 1}),
    'normalised queries': ('vit_tiny_patch16_224', {**SMALL, 'qk_norm': True, 'scale_attn_norm': True}),
    'without bias': ('vit_tiny_patch16_224', {**SMALL, 'qkv_bias': False}),
    'gated MLP': ('vit_giant_patch14_dinov2', {**SMALL, 'embed_dim': 48}),
    'rope with biases': ('vit_small_patch16_dinov3_qkvb', SMALL),
    'rope beside positions': ('vit_small_patch16_rope_ape_224', SMALL),
}
OTHERS = {
    **{kind: NETWORKS[kind] for kind in ('average pooled', 'convnet')},
    'pooled after the class token': ('vit_tiny_patch16_224', {**SMALL, 'global_pool': 'avg'}),
    'cross-covariance': ('xcit_nano_12_p8_224', {}),
    'rope of its own in each block': ('vit_small_patch16_rope_mixed_224', SMALL),
    'MLP that looks at all tokens': ('vit_tiny_patch16_224', {**SMALL, 'mlp_layer': MixingMlp}),
}


def make(kind, **changes):
    """In float64; each tensor matters, or LayerScale would hide what the branches do."""
    name, arguments = (KINDS | OTHERS)[kind]
    return randomised(TimmBackbone(name, **{**arguments, **changes})).double()


def images_of(batch=3, rows=32, columns=40):
    return torch.randn(batch, 3, rows, columns, generator=torch.Generator().manual_seed(3)).double()


def gradients_of(backbone, **arguments):
    """The class token under a seed, and what flows from a random direction of it into each parameter."""
    backbone.zero_grad()
    torch.manual_seed(0)
    class_token = backbone(images_of(), **arguments).class_token
    direction = torch.randn(class_token.shape, generator=torch.Generator().manual_seed(4))
    (class_token * direction).sum().backward()
    return class_token, {name: parameter.grad for name, parameter in backbone.named_parameters()}


def assert_same(backbone, other=None, **arguments):
    """With all tokens, and with the class token only."""
    expected, slow = gradients_of(backbone, **arguments)
    found, fast = gradients_of(other or backbone, patches=False, **arguments)
    torch.testing.assert_close(found, expected)
    for name, gradient in slow.items():
        torch.testing.assert_close(fast[name], gradient, msg=name)


@pytest.mark.parametrize('kind', KINDS)
def test_it_is_the_class_token_of_the_whole_block_in_values_and_gradients(kind):
    backbone = make(kind)
    assert isinstance(backbone(images_of(), patches=False), ClassTokenOnly)
    assert_same(backbone)


@pytest.mark.parametrize(
    ('kind', 'changes'),
    [
        *itertools.product(['plain', 'registers', 'rope'], [{'drop_path_rate': 0.5}, {'subset_drop_path': 0.5}]),
        ('rope', {'rope_rescale_coords': 2.0}),
    ],
)
def test_random_depth_and_positions_draw_the_same_in_training(kind, changes):
    backbone = make(kind, **changes).train()
    expected, _ = gradients_of(backbone.eval())
    assert not torch.isclose(gradients_of(backbone.train(), patches=False)[0], expected).all()
    assert_same(backbone)


@pytest.mark.parametrize('kind', ['plain', 'rope'])
@pytest.mark.parametrize('changes', [{}, {'subset_drop_path': 0.5}])
def test_recomputed_activations_are_the_same(kind, changes):
    backbone = make(kind, gradient_checkpointing=True, **changes).train()
    calls = []
    backbone.model.blocks[-1].mlp.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0].shape[1]))
    gradients_of(backbone, patches=False)
    assert calls == [1, 1], 'once forward, once backward'
    assert_same(make(kind, **changes).train(), backbone)


@pytest.mark.parametrize('kind', ['plain', 'registers', 'rope'])
def test_a_normalisation_of_local_views_is_applied(kind):
    backbone = make(kind, local_norm=True)
    assert not torch.equal(*(backbone(images_of(), local=local, patches=False).class_token for local in (True, False)))
    expected, found = (backbone(images_of(), local=True, patches=patches).class_token for patches in (True, False))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('kind', ['plain', 'rope'])
def test_masks_change_the_class_token(kind):
    backbone = make(kind, mask_token=True)
    masks = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(5)) < 0.5
    assert not torch.equal(
        *(backbone(images_of(), masks=masked, patches=False).class_token for masked in (masks, None))
    )
    assert_same(backbone, masks=masks)


@pytest.mark.parametrize('kind', ['plain', 'registers', 'rope'])
def test_the_last_blocks_mlp_and_projection_see_one_token_and_the_norm_one(kind):
    backbone, seen = make(kind), []
    last = backbone.model.blocks[-1]
    for part in (last.attn.proj, last.mlp, backbone.model.norm):
        part.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[:2])))
    backbone(images_of(), patches=False)
    assert seen == [(3, 1)] * 3


@pytest.mark.parametrize('kind', OTHERS)
def test_networks_of_other_parts_give_all_tokens(kind):
    backbone = make(kind)
    if kind == 'cross-covariance' and not hasattr(backbone.model, 'num_prefix_tokens'):
        pytest.skip('this version of timm does not say which tokens of XCiT are patches')
    tokens, expected = (backbone(images_of(rows=64, columns=64), patches=patches) for patches in (False, True))
    assert type(tokens) is Tokens
    assert torch.equal(tokens.class_token, expected.class_token)
    assert torch.equal(tokens.patches, expected.patches)


def test_after_an_error_timms_network_is_whole_again():
    backbone = make('plain')
    parts = list(backbone.model.named_modules())
    handle = backbone.model.patch_embed.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backbone(images_of(), patches=False)
    handle.remove()
    assert list(backbone.model.named_modules()) == parts


def test_leading_axes_change_nothing():
    backbone, images = make('rope'), images_of(6)
    together = backbone(images.unflatten(0, (2, 3)), patches=False).class_token
    torch.testing.assert_close(together.flatten(0, 1), backbone(images, patches=False).class_token)
    torch.testing.assert_close(together[1, 2], backbone(images[5], patches=False).class_token)


def test_who_reads_patches_that_are_not_there_is_told_why():
    tokens = make('plain')(images_of(), patches=False)
    with pytest.raises(ValueError, match=r"These tokens have no patches.*reads_patches = \('student_global'"):
        tokens.patches.mean()
