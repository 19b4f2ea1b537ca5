"""``freeze_backbone``: new heads learn on a backbone that stays as it is."""

from itertools import pairwise

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from small_training import small_config
from test_training import equal, train
from torch import nn

from dino_plugin.engine.training.optim_wrapper import SelfDistillationOptimWrapper


def parts(state):
    backbone = {name: value for name, value in state.items() if name.startswith('backbone.')}
    return backbone, {name: value for name, value in state.items() if name not in backbone}


def moves(states):
    """Whether backbone and heads moved, step by step."""
    pairs = [(parts(before), parts(after)) for before, after in pairwise(states)]
    return [not equal(a[0], b[0]) for a, b in pairs], [not equal(a[1], b[1]) for a, b in pairs]


@pytest.mark.parametrize('clip_mode', ['module', 'global'])
def test_the_backbone_keeps_every_bit_until_its_time_and_the_heads_move_throughout(tmp_path, clip_mode):
    """Weight decay is on: a gradient of zero would have moved it."""
    config = small_config(
        tmp_path,
        train_cfg__max_epochs=1,
        optim_wrapper__freeze_backbone=0.5,
        optim_wrapper__clip_mode=clip_mode,
        optim_wrapper__freeze_last_layer=0.2,
    )
    _, recorder = train(config)
    frozen, learning = [False] * 3 + [True] * 3, [True] * 6
    assert moves(recorder.students) == (frozen, learning)
    assert moves(recorder.teachers) == (frozen, learning)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(4, 4)
        self.heads = nn.ModuleDict({'cls': nn.Linear(4, 2)})


def test_clipping_counts_only_the_gradients_that_are_used():
    model = Tiny()
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='dino_plugin.SelfDistillationOptimWrapper',
            constructor='dino_plugin.ParameterGroups',
            optimizer=dict(type='SGD', lr=1.0),
            precision='fp32',
            clip_mode='global',
            max_norm=0.5,
            freeze_backbone=1.0,
        ),
    )
    wrapper.initialize_count_status(model, 0, 4)
    before = [parameter.detach().clone() for parameter in model.heads.parameters()]
    wrapper.update_params(model.heads['cls'](model.backbone(torch.ones(1, 4))).sum() * 1000)
    change = [old - new for old, new in zip(before, model.heads.parameters(), strict=True)]
    assert torch.cat([part.flatten() for part in change]).norm().item() == pytest.approx(0.5, rel=1e-4)


class BackboneAlone(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(4, 4)


@pytest.mark.parametrize(('precision', 'fused'), [('fp32', True), ('fp32', False), ('fp16', True)])
def test_where_everything_is_frozen_a_step_does_nothing(precision, fused):
    model = BackboneAlone()
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='dino_plugin.SelfDistillationOptimWrapper',
            constructor='dino_plugin.ParameterGroups',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1, fused=fused),
            precision=precision,
            freeze_backbone=0.5,
        ),
    )
    wrapper.initialize_count_status(model, 0, 4)
    moved, stepped = [], []
    for _ in range(4):
        before = model.backbone.weight.detach().clone()
        wrapper.update_params(model.backbone(torch.ones(2, 4)).square().mean() * 1e-3)
        moved.append(not torch.equal(before, model.backbone.weight))
        stepped.append(bool(wrapper.stepped))
    assert moved == stepped == [False, False, True, True]


def test_what_cannot_be_is_refused():
    optimizer = torch.optim.SGD(BackboneAlone().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r'freeze_backbone need to know the modules; .*dino_plugin\.ParameterGroups'):
        SelfDistillationOptimWrapper(optimizer, precision='fp32', freeze_backbone=0.1)
    for share in (-0.1, 1000):
        with pytest.raises(ValueError, match=f'freeze_backbone={share} is a share of training'):
            SelfDistillationOptimWrapper(optimizer, precision='fp32', freeze_backbone=share)
