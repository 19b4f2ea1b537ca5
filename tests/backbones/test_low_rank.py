"""Low-rank adapters: they start as nothing, learn alone, and whoever reads the checkpoint gets plain weights."""

import copy
import sys

import pytest
import torch
from safetensors.torch import load_file
from small_training import build_runner, small_config

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.views import ViewBatch
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.adapters import beside_adapters, merged
from dino_plugin.weights.checkpoint import backbone_state
from dino_plugin.weights.safe_loading import load_checkpoint

peft = pytest.importorskip('peft', reason='peft is not installed')

SMALL = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
NETWORKS = {  # ViT, with registers and SwiGLU, rotary positions without and with a bias of queries, convolutions
    'vit_tiny_patch16_224': SMALL,
    'vit_giant_patch14_reg4_dinov2': SMALL,
    'vit_small_patch16_dinov3': SMALL,
    'vit_small_patch16_dinov3_qkvb': SMALL,
    'convnext_atto': dict(depths=(1, 1, 1, 1), dims=(8, 16, 16, 16)),
}


def adapted(name='vit_tiny_patch16_224', trained=True, **options) -> TimmBackbone:
    """With adapters that matter, if they are ``trained``, and a LayerScale of 1 that lets them through."""
    torch.manual_seed(0)
    built = TimmBackbone(name, lora=dict(r=3, lora_alpha=5, **options), **NETWORKS[name]).eval()
    for key, value in built.named_parameters():
        if trained and '.lora_B.' in key:
            torch.nn.init.normal_(value, std=0.3)
        elif 'gamma' in key:
            torch.nn.init.ones_(value)
    return built


def plain(backbone: TimmBackbone, name: str) -> TimmBackbone:
    built = TimmBackbone(name, **NETWORKS[name]).eval()
    built.model.load_state_dict(merged(backbone.model.state_dict()))
    return built


@pytest.mark.parametrize('name', NETWORKS)
def test_the_merged_network_equals_the_one_with_adapters_and_peft_merges_alike(name):
    backbone, images = adapted(name), torch.randn(2, 3, 32, 32)
    expected = backbone(images)
    for mine, theirs in zip(plain(backbone, name)(images), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    layers = [layer for layer in backbone.modules() if isinstance(layer, peft.tuners.lora.LoraLayer)]
    state = merged(backbone.model.state_dict())
    for layer in layers:
        layer.merge()
    theirs = backbone.model.state_dict()
    for key in [key for key in theirs if key.endswith('.base_layer.weight')]:
        torch.testing.assert_close(state[key.replace('.base_layer', '')], theirs[key])


@pytest.mark.parametrize('name', NETWORKS)
def test_every_adapter_changes_the_output_and_none_does_at_the_start(name):
    """EVA's attention with a bias takes the weight of its layer, and would pass over the adapter."""
    images = torch.randn(2, 3, 32, 32)
    backbone = adapted(name, trained=False)
    start = backbone(images).class_token
    torch.testing.assert_close(start, plain(backbone, name)(images).class_token, rtol=1e-5, atol=1e-5)
    ups = [key for key, _ in backbone.named_parameters() if '.lora_B.' in key]
    assert len(ups) >= 4
    for key in ups:
        changed = copy.deepcopy(backbone)
        torch.nn.init.normal_(changed.get_parameter(key), std=0.3)
        assert not torch.allclose(changed(images).class_token, start, atol=1e-5), key


def test_views_that_are_not_packed_give_what_each_size_gives_and_the_class_token_alone_is_the_same():
    backbone = adapted()
    views = ViewBatch(torch.randn(2, 3, 3, 32, 32), torch.randn(2, 3, 3, 16, 16))
    with torch.no_grad():
        of_global, of_local = backbone.forward_together(views, global_patches=False, local_patches=False)
        unpacked = plain(backbone, 'vit_tiny_patch16_224').forward_together(views)
    torch.testing.assert_close(of_global.class_token, unpacked[0].class_token, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(of_local.class_token, unpacked[1].class_token, rtol=1e-4, atol=1e-4)


def learning(backbone: TimmBackbone) -> set[str]:
    return {name for name, value in backbone.named_parameters() if value.requires_grad}


def test_only_adapters_learn_and_what_is_asked_for():
    alone = learning(adapted())
    assert len(alone) == 2 * 4 * 2 and all('.lora_' in name for name in alone)
    assert sum(value.numel() for name, value in adapted().named_parameters() if name in alone) == 2 * 3 * (
        (32 + 96) + (32 + 32) + (32 + 128) + (128 + 32)
    )
    more = learning(adapted(trained=True)) | learning(
        TimmBackbone(
            'vit_tiny_patch16_224',
            mask_token=True,
            lora=dict(target_modules=['attn.qkv'], trained=['norm', 'patch_embed']),
            **SMALL,
        )
    )
    assert {'mask_token', 'model.norm.weight', 'model.blocks.1.norm2.bias', 'model.patch_embed.proj.weight'} <= more
    assert 'model.blocks.0.mlp.fc1.base_layer.weight' not in more


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A training of adapters: the runner, its start, its checkpoint."""
    folder = tmp_path_factory.mktemp('low_rank')
    config = small_config(
        folder,
        model__backbone__lora=dict(r=2, lora_alpha=8),
        train_cfg__max_epochs=1,
        model__backbone__drop_path_rate=0.0,
    )
    runner = build_runner(config)
    start = {key: value.clone() for key, value in runner.model.distillation.teacher.backbone.state_dict().items()}
    runner.train()
    return runner, start, folder / 'iter_6.pth'


def test_a_training_moves_adapters_alone_in_student_and_teacher_and_keeps_state_for_nothing_else(run):
    runner, start, _ = run
    for network in (runner.model.distillation.student, runner.model.distillation.teacher):
        moved = {key for key, value in network.backbone.state_dict().items() if not torch.equal(value, start[key])}
        assert moved == {key for key in start if '.lora_' in key}
    optimised = sum(value['exp_avg'].numel() for value in runner.optim_wrapper.optimizer.state.values())
    assert optimised == sum(value.numel() for value in runner.model.parameters() if value.requires_grad)


def test_every_reader_gets_plain_weights_that_answer_as_the_teacher(run, tmp_path):
    runner, _, checkpoint = run
    images = torch.randn(2, 3, 32, 32)
    teacher = runner.model.distillation.teacher.backbone
    with torch.no_grad():
        expected = teacher(images).class_token
    loaded = TimmBackbone(checkpoint=str(checkpoint)).eval()
    torch.testing.assert_close(loaded(images).class_token, expected, rtol=1e-4, atol=1e-5)
    assert set(backbone_state(load_checkpoint(checkpoint))) == set(loaded.model.state_dict())
    exported = export_backbone(checkpoint, tmp_path / 'plain.safetensors')
    assert set(load_file(next(tmp_path.glob('*.safetensors')))) == set(loaded.model.state_dict()), exported


def test_a_later_stage_starts_from_the_merged_weights_with_or_without_adapters_of_its_own(run, tmp_path):
    runner, _, checkpoint = run
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = runner.model.distillation.teacher.backbone.eval()(images).class_token
    for lora in (None, dict(r=1)):
        later = build_runner(small_config(tmp_path, model__checkpoint=str(checkpoint), model__backbone__lora=lora))
        with torch.no_grad():
            tokens = later.model.distillation.teacher.backbone.eval()(images).class_token
        torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)


def test_weights_beside_adapters_merge_to_themselves():
    own = adapted(trained=False).model.state_dict()
    state = merged(own)
    again = merged(beside_adapters(state, own))
    assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)
    assert beside_adapters(state, state).keys() == state.keys()


def test_an_adapter_without_its_scale_is_refused_and_names_of_others_stay():
    state = adapted().model.state_dict()
    del state['blocks.0.attn.qkv.adapter_scale']
    with pytest.raises(
        ValueError, match=r"blocks\.0\.attn\.qkv lacks \['blocks\.0\.attn\.qkv\.adapter_scale'\]\. Merge"
    ):
        merged(state)
    others = {'qkv.weight': torch.ones(1), 'qkv.lora_A': torch.ones(1)}  # a strict load must see them
    assert merged(others) == others


def test_mistakes_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown options \['use_dora'\]; it takes target_modules, trained and"):
        adapted(use_dora=True)
    with pytest.raises(ValueError, match=r"trained=\['nrom'\] is in the name of no parameter"):
        TimmBackbone('vit_tiny_patch16_224', lora=dict(trained=['nrom']), **SMALL)
    with pytest.raises(ValueError, match='r=0 is the rank'):
        TimmBackbone('vit_tiny_patch16_224', lora=dict(r=0), **SMALL)
    with pytest.raises(ValueError, match='wide'):
        TimmBackbone('vit_tiny_patch16_224', lora=dict(target_modules=['wide']), **SMALL)
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(ImportError, match=r'pip install "dino_plugin\[lora\]"'):
        TimmBackbone('vit_tiny_patch16_224', lora={}, **SMALL)
