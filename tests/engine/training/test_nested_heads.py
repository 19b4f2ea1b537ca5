"""Nested heads: each head and loss once more, on shares of the features."""

import pytest

from dino_plugin.engine.training.nested_heads import with_nested_heads


def test_each_head_and_its_loss_are_there_once_more_for_each_share():
    heads = dict(cls=dict(type='H', prototypes=64), patch=dict(type='H', prototypes=32))
    losses = dict(dino=dict(head='cls', weight=0.5), ibot=dict(head='patch'), koleo=dict(weight=0.1))
    found = with_nested_heads(heads, losses, (0.5, 0.25))
    assert found[0] == heads | dict(
        cls_50=dict(type='H', prototypes=32, share=0.5), patch_50=dict(type='H', prototypes=16, share=0.5),
        cls_25=dict(type='H', prototypes=16, share=0.25), patch_25=dict(type='H', prototypes=8, share=0.25),
    )  # fmt: skip
    assert found[1] == losses | dict(
        dino_50=dict(head='cls_50', weight=0.5), ibot_50=dict(head='patch_50'),
        dino_25=dict(head='cls_25', weight=0.5), ibot_25=dict(head='patch_25'),
    )  # fmt: skip
    assert with_nested_heads(heads, losses, ()) == (heads, losses)


def test_a_head_without_prototypes_is_refused():
    with pytest.raises(ValueError, match=r"the heads \['cls'\] name no prototypes"):
        with_nested_heads(dict(cls=dict(type='H', prototypes=None)), {}, (0.5,))
