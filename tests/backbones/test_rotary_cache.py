"""Rotary positions that are computed once."""

import copy
import inspect

import torch
from networks import randomised
from test_timm_backbone import NETWORKS
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3

from dino_plugin.backbones.timm_backbone import TimmBackbone


def make(**changes):
    name, arguments = NETWORKS['rope']
    return randomised(TimmBackbone(name, **{**arguments, **changes}))


def truth(rope, shape):
    return RotaryEmbeddingDinoV3.get_embed(rope, shape)


def test_they_are_timms_for_each_grid_and_dtype_and_computed_once(monkeypatch):
    rope = make().model.rope
    for _ in range(2):
        for shape in ([2, 3], [3, 2], (4, 4)):
            assert torch.equal(rope.get_embed(shape=shape), truth(rope, shape))
    before = rope.get_embed([2, 3])
    assert rope.get_embed((2, 3)) is before
    if 'dtype' in inspect.signature(type(rope).get_embed).parameters:  # newer versions of timm
        assert rope.get_embed([2, 3], dtype=torch.float64).dtype == torch.float64
    rope.double()
    assert torch.equal(rope.get_embed([2, 3]), truth(rope, [2, 3]))
    assert rope.get_embed([2, 3]).dtype == torch.float64


def test_images_of_all_sizes_do_not_fill_the_memory():
    rope = make().model.rope
    for columns in range(1, 100):
        assert torch.equal(rope.get_embed([2, columns]), truth(rope, [2, columns]))
    assert len(rope.get_embed.cached) == 8


def test_random_coordinates_are_drawn_at_each_pass_of_training_only():
    backbone = make(rope_rescale_coords=2.0).train()
    rope = backbone.model.rope
    assert not torch.equal(rope.get_embed([2, 3]), rope.get_embed([2, 3]))
    torch.manual_seed(0)
    found = rope.get_embed([2, 3])
    torch.manual_seed(0)
    assert torch.equal(found, truth(rope, [2, 3]))
    assert torch.equal(backbone.eval().model.rope.get_embed([2, 3]), make().model.rope.get_embed([2, 3]))


def test_a_copy_in_evaluation_does_not_draw_with_the_original_in_training():
    backbone = make(rope_rescale_coords=2.0).train()
    copied = copy.deepcopy(backbone).eval().model.rope
    assert copied.get_embed.rope is copied
    assert torch.equal(copied.get_embed([2, 3]), make().model.rope.get_embed([2, 3]))
    assert backbone.model.rope.get_embed.rope is backbone.model.rope


def test_an_evaluation_before_leaves_training_able_to_go_backward():
    backbone, images = make(), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        backbone(images)
    backbone(images).class_token.sum().backward()


def test_the_state_knows_nothing_of_it():
    backbone = make()
    names = set(backbone.state_dict())
    backbone(torch.randn(1, 3, 32, 32))
    assert set(backbone.state_dict()) == names
