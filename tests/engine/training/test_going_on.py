"""The recipes that go on from released weights: what learns in each."""

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from dino_plugin.commands import smoke
from dino_plugin.engine.vocabulary import VOCABULARY  # noqa: F401
from dino_plugin.openmmlab.config_files import config_path


def factors(name: str) -> dict[str, float]:
    """Of the optimiser's groups, learning rate of each parameter of the backbone, relative to the heads'."""
    cfg = Config.fromfile(config_path(name))
    smoke.shrink(cfg)
    cfg.optim_wrapper.precision = 'fp32'
    cfg.optim_wrapper.paramwise_cfg.layer_decay = 1.0
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {id(parameter): group['lr'] for group in wrapper.optimizer.param_groups for parameter in group['params']}
    student = model.distillation.student
    of_heads = {rates[id(parameter)] for parameter in student.heads.parameters() if parameter.requires_grad}
    assert len(of_heads) == 1
    learning = {name: value for name, value in student.backbone.named_parameters() if value.requires_grad}
    return {name: rates[id(value)] / max(of_heads) for name, value in learning.items()}


def test_all_of_the_network_learns_slowly_and_the_embedding_slower():
    found = factors('dinov2/dinov2_vit-small-p14_1xb64-continued-20e_custom.py')
    assert found.pop('model.patch_embed.proj.weight') == pytest.approx(0.004)
    assert found.pop('model.patch_embed.proj.bias') == pytest.approx(0.004)
    assert [*found.values()] == pytest.approx([0.02] * len(found))


def test_normalisations_and_the_mask_token_alone_learn():
    found = factors('dinov2/dinov2_vit-small-p14_1xb64-continued-norms-20e_custom.py')
    assert all('norm' in name for name in found.keys() - {'mask_token'})
    assert {
        'mask_token',
        'model.norm.weight',
        'model.blocks.0.norm1.bias',
        'model.blocks.3.norm2.weight',
    } <= found.keys()
    assert [*found.values()] == pytest.approx([0.2] * len(found))


def test_adapters_and_the_mask_token_alone_learn():
    pytest.importorskip('peft', reason='peft is not installed')
    found = factors('dinov2/dinov2_vit-small-p14_1xb64-continued-lora-20e_custom.py')
    assert all('.lora_' in name for name in found.keys() - {'mask_token'})
    assert len(found) == 1 + 4 * 4 * 2  # blocks, layers, A and B
    assert [*found.values()] == pytest.approx([0.2] * len(found))
