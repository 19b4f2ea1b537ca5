"""Weights that are drawn later are those that building at once would draw with the same random numbers."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.deferred import DeferredWeights
from dino_plugin.core.heads import DINOHead

NETWORKS = dict(
    vit=lambda: TimmBackbone('vit_tiny_patch16_224', depth=2, embed_dim=48, mask_token=True, token_std=0.02),
    eva=lambda: TimmBackbone('vit_small_patch16_dinov3', depth=2, embed_dim=48, local_norm=True),
    convolutions=lambda: TimmBackbone('resnet10t'),
    weight_norm=lambda: DINOHead(8, 16, 12, 6),
    batch_norm=lambda: DINOHead(8, 16, 12, 6, batch_norm=True, weight_norm=False, norm_last_layer=False),
)


class SeededBeforeEachDraw(TorchDispatchMode):
    """Builds at once; before the n-th random operation PyTorch is seeded by n, as `DeferredWeights` does."""

    number = 0

    def seed(self):
        self.number += 1
        torch.manual_seed(hash((7, self.number)) % 2**63)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if torch.Tag.nondeterministic_seeded in function.tags:
            self.seed()
        return function(*args, **(kwargs or {}))


def built_at_once(build, monkeypatch):
    mode, draw = SeededBeforeEachDraw(), nn.init._no_grad_trunc_normal_

    def truncated_normal(*args, **kwargs):
        mode.seed()
        with _disable_current_modes():
            return draw(*args, **kwargs)

    monkeypatch.setattr(nn.init, '_no_grad_trunc_normal_', truncated_normal)
    with mode:
        return build()


def tensors(network):
    return dict((*network.named_parameters(), *network.named_buffers()))


@pytest.mark.parametrize('name', NETWORKS)
def test_each_tensor_has_the_value_that_it_would_have_had(name, monkeypatch):
    with DeferredWeights(seed=7) as deferred:
        network = NETWORKS[name]()
    state = torch.random.get_rng_state()
    found = {key: deferred.value_of(tensor) for key, tensor in reversed(tensors(network).items())}
    assert torch.equal(torch.random.get_rng_state(), state)
    expected = tensors(built_at_once(NETWORKS[name], monkeypatch))
    assert found.keys() == expected.keys()
    assert all(tensor.is_meta for tensor in tensors(network).values())
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    with DeferredWeights(seed=8) as other:
        again = NETWORKS[name]()
    assert any(not torch.equal(other.value_of(tensor), found[key]) for key, tensor in tensors(again).items())


def test_a_tensor_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match='was not made within the context'):
        DeferredWeights().value_of(torch.empty(3, device='meta'))
