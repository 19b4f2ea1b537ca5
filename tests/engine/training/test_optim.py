import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from dino_plugin.backbones.feature_maps import TimmFeatureMaps
from dino_plugin.core.heads import DINOHead
from dino_plugin.core.schedules import Cosine, Warmup
from dino_plugin.engine.training.optim_wrapper import SelfDistillationOptimWrapper
from dino_plugin.engine.training.progress_scheduler import ProgressScheduler


class Tiny(nn.Module):
    """A student with the names of the real one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.distillation = nn.Module()
        self.distillation.student = nn.Module()
        student = self.distillation.student
        student.backbone = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        student.backbone.pos_embed = nn.Parameter(torch.randn(1, 3, 4))
        student.heads = nn.ModuleDict({'cls': DINOHead(4, prototypes=6, hidden_dim=5, bottleneck_dim=3)})
        self.distillation.teacher = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x):
        student = self.distillation.student
        return student.heads['cls'](student.backbone(x) + student.backbone.pos_embed.mean((0, 1)))


def make_wrapper(model, optimizer=None, **config):
    optimizer = {'type': 'AdamW', 'lr': 0.1, 'weight_decay': 0.04, 'fused': True, **(optimizer or {})}
    config = {'precision': 'fp32', **config}
    return build_optim_wrapper(
        model,
        {
            'type': 'dino_plugin.SelfDistillationOptimWrapper',
            'constructor': 'dino_plugin.ParameterGroups',
            'optimizer': optimizer,
            **config,
        },
    )


def step(model, wrapper, factor=1.0):
    torch.manual_seed(1)
    with wrapper.optim_context(model):
        loss = (model(torch.randn(8, 4)) ** 2).float().mean() * factor
    wrapper.update_params(loss)


def snapshot(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def names_of(model, parameters):
    identities = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in identities}


def test_weights_and_embeddings_decay_and_biases_and_norms_do_not():
    model = Tiny()
    groups = make_wrapper(model).optimizer.param_groups
    prefix = 'distillation.student.'
    decayed = {n for group in groups if group['weight_decay'] for n in names_of(model, group['params'])}
    assert decayed == {
        f'{prefix}{name}'
        for name in (
            'backbone.0.weight',
            'backbone.pos_embed',
            'heads.cls.mlp.0.weight',
            'heads.cls.mlp.2.weight',
            'heads.cls.mlp.4.weight',
            'heads.cls.last_layer.parametrizations.weight.original1',
        )
    }
    everything = [parameter for group in groups for parameter in group['params']]
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names_of(model, everything) == trainable
    assert len(everything) == len(trainable)


class Fine(nn.Module):
    """A backbone and a head, with the names of mmsegmentation's."""

    def __init__(self, depth=3):
        super().__init__()
        self.backbone = TimmFeatureMaps(
            model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=depth, num_heads=2
        )
        self.decode_head = nn.Conv2d(16, 5, 1)


def test_layer_decay_is_a_power_of_the_distance_from_the_head():
    model = Fine()
    groups = make_wrapper(model, paramwise_cfg=dict(layer_decay=0.5)).optimizer.param_groups
    rates = {name: group['lr'] for group in groups for name in names_of(model, group['params'])}
    assert set(rates) == {name for name, _ in model.named_parameters()}
    for name, rate in rates.items():
        inner = name.removeprefix('backbone.backbone.model.')
        if name.startswith('decode_head.') or inner.startswith('norm.'):
            depth = 4
        elif inner.startswith(('patch_embed.', 'pos_embed', 'cls_token')):
            depth = 0
        else:
            depth = int(inner.split('.')[1]) + 1
        assert rate == pytest.approx(0.1 * 0.5 ** (4 - depth)), name


def test_custom_keys_scale_rate_and_decay_and_the_longest_counts():
    model = Fine(depth=1)
    keys = {
        'patch_embed': dict(lr_mult=0.2),
        'patch_embed.proj.weight': dict(decay_mult=0.5),
        'pos': dict(decay_mult=0),
    }
    groups = make_wrapper(model, paramwise_cfg=dict(custom_keys=keys)).optimizer.param_groups
    found = {
        name.split('model.')[-1]: (group['lr'], group['weight_decay'])
        for group in groups
        for name in names_of(model, group['params'])
    }
    assert found['patch_embed.proj.bias'] == (pytest.approx(0.02), 0)
    assert found['patch_embed.proj.weight'] == (pytest.approx(0.1), pytest.approx(0.02))
    assert found['pos_embed'] == (0.1, 0)
    assert found['cls_token'] == (0.1, 0.04)
    assert found['decode_head.weight'] == (0.1, 0.04)


def test_a_factor_of_zero_freezes_and_a_star_finds_the_norms_of_the_backbone():
    model = Fine(depth=2)
    keys = {'backbone': dict(lr_mult=0), 'backbone*norm': dict(lr_mult=0.2)}
    wrapper = make_wrapper(model, paramwise_cfg=dict(layer_decay=0.5, custom_keys=keys))
    rates = {name: group['lr'] for group in wrapper.optimizer.param_groups for name in names_of(model, group['params'])}
    learns = {name for name, value in model.named_parameters() if value.requires_grad}
    assert rates.keys() == learns
    assert learns == {name for name, _ in model.named_parameters() if 'norm' in name or 'backbone' not in name}
    assert rates['backbone.backbone.model.blocks.1.norm2.weight'] == pytest.approx(0.1 * 0.2 * 0.5)
    assert rates['backbone.backbone.model.blocks.0.norm1.bias'] == pytest.approx(0.1 * 0.2 * 0.5**2)


def test_freezing_everything_is_refused():
    with pytest.raises(ValueError, match=r"lr_mult=0 freezes everything; custom_keys: {'': "):
        make_wrapper(Tiny(), paramwise_cfg=dict(custom_keys={'': dict(lr_mult=0)}))


def test_only_decayed_groups_follow_the_weight_decay_schedule():
    model = Tiny()
    wrapper = make_wrapper(model)
    scheduler = ProgressScheduler(wrapper, 'weight_decay', Cosine(1.0, 10.0), end=20, by_epoch=False)
    for i in range(20):
        expected = 0.4 + (0.04 - 0.4) * (1 + math.cos(math.pi * i / 20)) / 2
        for group in wrapper.optimizer.param_groups:
            assert group['weight_decay'] in (0.0, pytest.approx(expected))
        step(model, wrapper)
        scheduler.step()
    assert {group['weight_decay'] > 0 for group in wrapper.optimizer.param_groups} == {True, False}


def test_the_learning_rate_follows_its_factor_and_a_restored_scheduler_goes_on_there():
    model = Tiny()
    schedule = Warmup(0.0, 0.2, Cosine(1.0, 0.1))
    wrapper = make_wrapper(model)
    scheduler = ProgressScheduler(wrapper, 'lr', schedule, end=10, by_epoch=False)
    rates = []
    for _ in range(10):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        step(model, wrapper)
        scheduler.step()
    assert rates == pytest.approx([0.1 * schedule(i / 10) for i in range(10)])

    other = ProgressScheduler(make_wrapper(model), 'lr', schedule, end=10, by_epoch=False)
    for _ in range(4):
        other.step()
    state = other.state_dict()
    assert all(isinstance(value, int | float | bool | str | list) for value in state.values()), state
    resumed = ProgressScheduler(make_wrapper(model), 'lr', schedule, end=10, by_epoch=False)
    resumed.load_state_dict(state)
    resumed.step()
    assert resumed.optimizer.param_groups[0]['lr'] == pytest.approx(rates[5])


def test_the_last_layer_does_not_move_in_the_first_share_of_training():
    model = Tiny()
    wrapper = make_wrapper(model, freeze_last_layer=0.5)
    wrapper.initialize_count_status(model, 0, 4)
    prototypes = 'distillation.student.heads.cls.last_layer.parametrizations.weight.original1'
    moved, others = [], []
    for _ in range(4):
        before = snapshot(model)
        step(model, wrapper)
        after = snapshot(model)
        moved.append(not torch.equal(before[prototypes], after[prototypes]))
        others.append(
            not torch.equal(
                before['distillation.student.backbone.0.weight'], after['distillation.student.backbone.0.weight']
            )
        )
    assert moved == [False, False, True, True]
    assert all(others)


@pytest.mark.parametrize('freeze_by', ['gradient', 'rate'])
def test_both_ways_to_freeze_equal_a_loop_of_plain_torch(freeze_by):
    """Four steps, the first two frozen; clipping by module at a norm that always bites, AdamW with weight decay."""
    ours, plain = Tiny(), Tiny()
    wrapper = make_wrapper(ours, freeze_last_layer=0.5, freeze_by=freeze_by, clip_mode='module', max_norm=0.01)
    wrapper.initialize_count_status(ours, 0, 4)
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    optimizer = torch.optim.AdamW(
        [
            dict(params=decayed, weight_decay=0.04),
            dict(params=[parameter for parameter in trained if parameter.ndim == 1], weight_decay=0.0),
        ],
        lr=0.1,
    )
    head = plain.distillation.student.heads['cls']
    prototypes = head.last_layer.parametrizations.weight.original1
    for number in range(4):
        frozen = number < 2
        step(ours, wrapper)
        torch.manual_seed(1)
        (plain(torch.randn(8, 4)) ** 2).mean().backward()
        if frozen and freeze_by == 'gradient':
            prototypes.grad = None
        for module in (plain.distillation.student.backbone, head):
            nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 0.01)
        kept = prototypes.detach().clone()
        optimizer.step()
        if frozen and freeze_by == 'rate':
            prototypes.data.copy_(kept)  # moments move, the parameter does not
        optimizer.zero_grad()
        for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(
                mine, theirs, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f'{name}: {text}'
            )
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {0.1}


def gradients_after(clip_mode, max_norm):
    model = Tiny()
    wrapper = make_wrapper(
        model, {'type': 'SGD', 'lr': 1.0, 'weight_decay': 0.0}, clip_mode=clip_mode, max_norm=max_norm
    )
    before = snapshot(model)
    step(model, wrapper, factor=1000.0)
    after = snapshot(model)
    return {n: before[n] - after[n] for n in before if not torch.equal(before[n], after[n])}


def test_clipping_by_parameter_bounds_each_tensor_and_keeps_its_direction():
    """DINO: grad * min(1, 3 / (norm + 1e-6)) for each parameter by itself."""
    plain, clipped = gradients_after('parameter', None), gradients_after('parameter', 3.0)
    assert any(gradient.norm() > 3 for gradient in plain.values())
    for name, gradient in plain.items():
        expected = gradient * min(1.0, 3.0 / (gradient.norm().item() + 1e-6))
        torch.testing.assert_close(clipped[name], expected, rtol=1e-4, atol=1e-6)


def test_clipping_by_module_bounds_backbone_and_head_separately():
    plain, clipped = gradients_after('module', None), gradients_after('module', 3.0)
    for part in ('.backbone.', '.heads.cls.'):
        names = [name for name in plain if part in name]
        norm = torch.stack([plain[name].norm() for name in names]).norm().item()
        for name in names:
            expected = plain[name] * min(1.0, 3.0 / (norm + 1e-6))
            torch.testing.assert_close(clipped[name], expected, rtol=1e-4, atol=1e-6)


def test_global_clipping_equals_torchs_own():
    plain, clipped = gradients_after('global', None), gradients_after('global', 3.0)
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in plain.values()]
    for parameter, gradient in zip(parameters, plain.values(), strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameters, 3.0)
    for parameter, gradient in zip(parameters, clipped.values(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('clip_mode', ['parameter', 'module', 'global'])
def test_small_gradients_are_left_as_they_are(clip_mode):
    plain, clipped = gradients_after(clip_mode, None), gradients_after(clip_mode, 1e9)
    for name, gradient in plain.items():
        torch.testing.assert_close(clipped[name], gradient)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('poison', [float('nan'), float('inf')])
def test_a_step_with_gradients_that_are_not_finite_changes_nothing(fused, poison):
    model = Tiny()
    wrapper = make_wrapper(model, {'fused': fused})
    step(model, wrapper)
    assert bool(wrapper.stepped)
    before, moments = snapshot(model), wrapper.optimizer.state_dict()['state']
    moments = {key: {name: value.clone() for name, value in state.items()} for key, state in moments.items()}
    step(model, wrapper, factor=poison)
    assert not bool(wrapper.stepped)
    assert all(torch.equal(before[name], value) for name, value in snapshot(model).items())
    for key, state in wrapper.optimizer.state_dict()['state'].items():
        assert all(torch.equal(moments[key][name], value) for name, value in state.items())
    step(model, wrapper)
    assert bool(wrapper.stepped)
    assert not torch.equal(
        before['distillation.student.backbone.0.weight'], model.distillation.student.backbone[0].weight
    )


def test_the_host_does_not_wait_for_the_device(monkeypatch):
    model = Tiny()
    wrapper = make_wrapper(model)
    step(model, wrapper)
    loss = (model(torch.randn(8, 4)) ** 2).mean()
    loss.backward()
    for name in ('__bool__', '__float__', '__int__', 'item', 'tolist', 'numpy', 'cpu'):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a: pytest.fail('the host waited for the device'))
    wrapper.step()


def test_between_accumulated_batches_nothing_has_stepped():
    model = Tiny()
    wrapper = make_wrapper(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    stepped = []
    for _ in range(4):
        step(model, wrapper)
        stepped.append(bool(wrapper.stepped))
    assert stepped == [False, True, False, True]


@pytest.mark.parametrize(('precision', 'dtype'), [('bf16', torch.bfloat16), ('fp16', torch.float16), ('fp32', None)])
def test_autocast_works_on_cpu(precision, dtype):
    wrapper = make_wrapper(Tiny(), precision=precision)
    linear = nn.Linear(4, 4)
    with wrapper.optim_context(linear):
        assert linear(torch.randn(2, 4)).dtype == (dtype or torch.float32)
    assert (wrapper.scaler is not None) == (precision == 'fp16')


def test_fp16_skips_the_step_lowers_its_scale_and_saves_it():
    model = Tiny()
    wrapper = make_wrapper(model, precision='fp16')
    step(model, wrapper, factor=1e-3)
    scale = wrapper.scaler.get_scale()
    before = snapshot(model)
    step(model, wrapper, factor=float('inf'))
    assert not bool(wrapper.stepped)
    assert wrapper.scaler.get_scale() == scale / 2
    assert all(torch.equal(before[name], value) for name, value in snapshot(model).items())
    other = make_wrapper(model, precision='fp16')
    other.load_state_dict(wrapper.state_dict())
    assert other.scaler.get_scale() == scale / 2


def test_impossible_settings_are_refused():
    for config, message in (
        ({'precision': 'fp8'}, "precision='fp8' is unknown"),
        ({'clip_mode': 'layer'}, "clip_mode='layer' is unknown"),
        ({'max_norm': 0.0}, 'must be positive'),
        ({'freeze_last_layer': 1250}, 'share of training'),
        ({'freeze_by': 'hand'}, "freeze_by='hand' is unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            make_wrapper(Tiny(), **config)
    optimizer = torch.optim.SGD(Tiny().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r'dino_plugin\.ParameterGroups'):
        SelfDistillationOptimWrapper(optimizer, precision='fp32', clip_mode='module')
    with pytest.raises(ValueError, match='bias_decay_mult'):
        make_wrapper(Tiny(), paramwise_cfg={'bias_decay_mult': 0.0})
    with pytest.raises(ValueError, match='decay_multiplier'):
        make_wrapper(Tiny(), paramwise_cfg={'custom_keys': {'mlp': {'decay_multiplier': 0.0}}})
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=rf'layer_decay={share} must be in'):
            make_wrapper(Tiny(), paramwise_cfg={'layer_decay': share})
    with pytest.raises(ValueError, match=r'layer_decay=0\.5 needs a dino_plugin\.TimmBackbone .*; Tiny has none'):
        make_wrapper(Tiny(), paramwise_cfg={'layer_decay': 0.5})


def test_a_learning_rate_of_zero_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(
        'dino_plugin.engine.training.optim_wrapper.print_log', lambda message, **_: told.append(message)
    )
    make_wrapper(Tiny(), {'type': 'SGD', 'lr': 0.0, 'weight_decay': 0.0})
    make_wrapper(Tiny(), {'type': 'SGD', 'lr': 0.1, 'weight_decay': 0.0})
    assert len(told) == 1
    assert 'have a learning rate of 0: they do not learn. Set optim_wrapper.optimizer.lr' in told[0]
