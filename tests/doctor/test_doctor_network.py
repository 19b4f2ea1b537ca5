"""The network on a batch, and its heads."""

import pytest
import torch
from doctor_levels import levels
from torch import nn

from dino_plugin.core.heads import DINOHead
from dino_plugin.core.views import Tokens
from dino_plugin.doctor.network import Look, judge_heads, judge_network, long_patches, look_at_network


class Backbone(nn.Module):
    """One layer, of whose eight units six are dead."""

    def __init__(self):
        super().__init__()
        self.linear, self.relu = nn.Linear(3, 8), nn.ReLU()
        with torch.no_grad():
            self.linear.bias[:6] = -1e4

    def forward(self, images):
        patches = self.relu(self.linear(images.movedim(2, -1)))
        return Tokens(patches.mean((2, 3)), patches)


def test_batch_norm_that_has_seen_no_batch_leaves_dead_units_uncounted():
    backbone = Backbone()
    backbone.norm = nn.BatchNorm2d(3)
    assert look_at_network(backbone, torch.randn(2, 5, 3, 4, 4)).dead == 0
    backbone.norm(torch.randn(2, 3, 4, 4))
    assert look_at_network(backbone, torch.randn(2, 5, 3, 4, 4)).dead == 0.75


def test_units_that_never_change_and_patches_that_are_too_long_are_counted():
    torch.manual_seed(0)
    look = look_at_network(Backbone(), torch.randn(2, 5, 3, 4, 4))
    assert (look.dead, look.parameters, look.images) == (0.75, 32, 5)
    patches = torch.ones(1, 20, 3)
    patches[0, :2] = 10
    assert long_patches(patches) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ('changes', 'released', 'subject', 'level'),
    [
        (dict(parameters=0), False, 'network', 'fault'),
        (dict(dead=0.6), False, 'dead units', 'warning'),
        (dict(long=0.02), True, 'long patch tokens', 'notice'),
        (dict(spread=0.0), True, 'features', 'warning'),
        (dict(spread=0.0), False, 'features at the start', 'ok'),  # LayerScale of 1e-5 starts so
    ],
)
def test_what_is_wrong_with_a_network_is_told(changes, released, subject, level):
    well = Look(1000, 0.0, 0.0, 20.0, 0.5, 64)
    assert set(levels(judge_network(well, True)).values()) == {'ok'}
    assert levels(judge_network(well._replace(**changes), released))[subject] == level


def test_few_prototypes_are_told():
    heads = {f'k{k}': DINOHead(8, prototypes=k, hidden_dim=8, bottleneck_dim=4) for k in (2, 32, 512, None)}
    said = judge_heads([*heads.items(), ('other', nn.Identity())])
    assert levels(said) == {
        'prototypes of k2': 'warning', 'prototypes of k32': 'notice', 'prototypes of k512': 'ok'
    }  # fmt: skip
    assert said[0].found.startswith('2: a target tells at most 1.0 bits')
