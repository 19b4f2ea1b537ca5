"""Random coordinates of rotary positions: timm's own, in training only."""

import copy
import math

import pytest
import torch
from networks import randomised
from test_timm_backbone import NETWORKS

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.distillation import Teacher

AUGMENTATIONS = [
    dict(rope_shift_coords=0.5),
    dict(rope_jitter_coords=1.5),
    dict(rope_rescale_coords=2.0),
    dict(rope_shift_coords=0.5, rope_jitter_coords=1.5, rope_rescale_coords=2.0),
]


def make(**changes):
    name, arguments = NETWORKS['rope']
    return randomised(TimmBackbone(name, **{**arguments, **changes}))


def coordinates(backbone, rows=3, columns=4):
    """Rows and columns of the patch centres that the rotary angles say, from the slowest frequencies of both axes.

    Angles are 2 pi coordinate / period, sines and cosines stand side by side, rows before columns, each with half of
    the frequencies. The slowest ones do not turn around.
    """
    rope = backbone.model.rope
    sines, cosines = rope.get_embed(shape=(rows, columns)).double().chunk(2, dim=-1)
    angles = torch.atan2(sines, cosines)
    frequencies = len(rope.periods)
    slowest = angles[:, [frequencies - 1, 2 * frequencies - 1]]
    return (slowest * rope.periods[-1] / (2 * math.pi)).unflatten(0, (rows, columns))


def slow_coordinates(rows, columns):
    """Each axis of an image reaches from -1 to 1, of any size; patches are at their centres."""
    grid = torch.zeros(rows, columns, 2, dtype=torch.float64)
    for row in range(rows):
        for column in range(columns):
            grid[row, column, 0] = 2 * (row + 0.5) / rows - 1
            grid[row, column, 1] = 2 * (column + 0.5) / columns - 1
    return grid


def drawn(number=2000, **augmentation):
    """Coordinates of a grid of 2 x 4, in which none is 0."""
    backbone = make(**augmentation).train()
    torch.manual_seed(0)
    return torch.stack([coordinates(backbone, 2, 4) for _ in range(number)])


def assert_uniform(shares):
    """Of [0, 1], by the test of Kolmogorov and Smirnov at 1 %."""
    number = len(shares)
    assert (shares.sort().values - (torch.arange(number) + 0.5) / number).abs().max() < 1.63 / math.sqrt(number)
    assert shares.min() > -1e-4
    assert shares.max() < 1 + 1e-4


def test_angles_are_the_papers():
    """2 pi coordinate / 100 ** (i / frequencies), half of the frequencies for rows and half for columns."""
    rope = make().model.rope
    sines, cosines = rope.get_embed(shape=(3, 4)).chunk(2, dim=-1)
    frequencies = rope.dim // 4
    for place, coordinate in enumerate(slow_coordinates(3, 4).flatten(0, 1)):
        for axis in range(2):
            for i in range(frequencies):
                angle = 2 * math.pi * coordinate[axis].item() / 100 ** (i / frequencies)
                column = axis * frequencies + i
                for half in range(2):  # of a head's features, which are turned in pairs (i, i + half)
                    at = column + half * 2 * frequencies
                    assert sines[place, at].item() == pytest.approx(math.sin(angle), abs=1e-5)
                    assert cosines[place, at].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_without_augmentation_and_in_evaluation_coordinates_are_the_grids():
    for backbone in (make().train(), make(**AUGMENTATIONS[-1]).eval()):
        torch.testing.assert_close(coordinates(backbone), slow_coordinates(3, 4), atol=1e-5, rtol=0)


def test_rescaling_is_log_uniform_and_shared_by_both_axes():
    scales = drawn(rope_rescale_coords=2.0) / slow_coordinates(2, 4)
    shared = scales[:, 0, 0, 0]
    torch.testing.assert_close(scales, shared[:, None, None, None].expand_as(scales), atol=1e-4, rtol=0)
    assert_uniform((shared.log() / math.log(2) + 1) / 2)  # in [1/2, 2]


def test_jitter_is_log_uniform_for_each_axis():
    scales = drawn(rope_jitter_coords=1.5) / slow_coordinates(2, 4)
    rows, columns = scales[:, 0, 0].unbind(1)
    torch.testing.assert_close(scales, scales[:, :1, :1].expand_as(scales), atol=1e-4, rtol=0)
    for axis in (rows, columns):
        assert_uniform((axis.log() / math.log(1.5) + 1) / 2)
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1].abs() < 0.1


def test_a_shift_is_uniform_for_each_axis():
    shifts = drawn(rope_shift_coords=0.5) - slow_coordinates(2, 4)
    rows, columns = shifts[:, 0, 0].unbind(1)
    torch.testing.assert_close(shifts, shifts[:, :1, :1].expand_as(shifts), atol=1e-4, rtol=0)
    for axis in (rows, columns):
        assert_uniform(axis + 0.5)
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1].abs() < 0.1


@pytest.mark.parametrize('augmentation', AUGMENTATIONS, ids=lambda arguments: ' '.join(arguments))
def test_only_training_moves_the_coordinates(augmentation):
    backbone, images = make(**augmentation), torch.randn(2, 3, 32, 32)
    plain = make()(images).patches
    assert torch.equal(backbone.eval()(images).patches, plain)
    backbone.train()
    assert not torch.isclose(backbone(images).patches, backbone(images).patches).all()
    assert not torch.isclose(backbone(images).patches, plain).all()
    teacher = Teacher(copy.deepcopy(backbone), {}).train()
    assert torch.equal(teacher.backbone(images).patches, plain)
    torch.manual_seed(0)
    first = backbone(images).patches
    torch.manual_seed(0)
    assert torch.equal(backbone(images).patches, first)


def test_all_images_of_a_call_have_the_same_coordinates():
    backbone = make(rope_rescale_coords=2.0).train()
    tokens = backbone(torch.randn(3, 32, 32).expand(2, 4, 3, 32, 32)).patches
    torch.testing.assert_close(tokens, tokens[:1, :1].expand_as(tokens))


def test_recomputed_activations_have_the_same_coordinates():
    images, gradients = torch.randn(2, 3, 32, 32), []
    for checkpointing in (False, True):
        backbone = make(rope_rescale_coords=2.0, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(0)
        backbone(images).patches.square().sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert all(map(torch.equal, *gradients))


def test_a_network_without_rotary_positions_refuses_to_move_their_coordinates():
    with pytest.raises(ValueError, match="augment DINOv3's rotary positions"):
        TimmBackbone('vit_tiny_patch16_224', rope_rescale_coords=2.0)
