"""A second stage starts where the teacher of the first ended; weights that would stay random are refused."""

import pytest
import torch
from small_training import build_runner, small_config
from test_training import equal, everything, train
from torch.nn.functional import gelu
from trained import masked_config, train_and_save

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.safe_loading import load_checkpoint

GRAM = dict(type='dino_plugin.GramLoss', weight=2.0)


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """The checkpoint of the first stage."""
    return train_and_save(tmp_path_factory.mktemp('first'))


def second(work_dir, checkpoint, max_iters=3, **changes):
    config = masked_config(work_dir, max_iters, **changes)
    config.model.checkpoint = str(checkpoint)
    return config


def saved_teacher(checkpoint):
    """Backbone, mask token and norm included, and scores of a head written from its equation."""
    prefix = 'distillation.teacher.'
    state = load_checkpoint(checkpoint)['state_dict'].items()
    state = {key.removeprefix(prefix): value for key, value in state if key.startswith(prefix)}
    backbone = TimmBackbone(checkpoint=str(checkpoint), mask_token=True, local_norm=True)
    backbone.load_state_dict({k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')})

    def scores(name, tokens):
        part = {key.removeprefix(f'heads.{name}.'): value for key, value in state.items()}
        for layer in (0, 2, 4):
            tokens = tokens @ part[f'mlp.{layer}.weight'].T + part[f'mlp.{layer}.bias']
            tokens = gelu(tokens) if layer < 4 else tokens
        directions = part['last_layer.parametrizations.weight.original1']
        directions = directions / directions.norm(dim=1, keepdim=True)
        return tokens / tokens.norm(dim=-1, keepdim=True) @ directions.T

    return backbone.eval(), scores


@pytest.mark.parametrize('size', [32, 48])
def test_student_teacher_and_anchor_start_as_the_teacher_of_the_first_stage(tmp_path, first, size):
    """Tokens bit by bit, with masks, of local views, and in another image size."""
    config = second(tmp_path, first)
    config.model.losses.gram = GRAM
    network = build_runner(config).model.eval().distillation
    backbone, scores = saved_teacher(first)
    torch.manual_seed(0)
    images, masks = torch.randn(4, 3, size, size), torch.rand(4, size // 8, size // 8) < 0.5
    networks = [network.student.backbone, network.teacher.backbone, network.losses['gram'].anchor]
    for options in (dict(), dict(masks=masks), dict(local=True)):
        with torch.no_grad():
            expected = backbone(images, **options)
            for ours in networks:
                assert all(map(torch.equal, ours(images, **options), expected))
    for name, tokens in (('cls', expected.class_token), ('patch', expected.patches)):
        with torch.no_grad():
            student, teacher = (part.heads[name](tokens) for part in (network.student, network.teacher))
        assert torch.equal(student, teacher)
        torch.testing.assert_close(student, scores(name, tokens))


def test_positions_are_resampled_where_the_network_is_built_for_another_size(tmp_path, first):
    config = second(tmp_path, first)
    config.model.backbone.img_size = 64
    network = build_runner(config).model.distillation
    other = TimmBackbone(checkpoint=str(first), img_size=64)
    assert network.teacher.backbone.model.pos_embed.shape[1] == 1 + 8 * 8
    assert equal(network.teacher.backbone.model.state_dict(), other.model.state_dict())
    assert equal(network.student.state_dict(), network.teacher.state_dict())


def test_a_second_stage_resumes_bit_for_bit(tmp_path, first):
    def config(work_dir, **changes):
        config = second(work_dir, first, default_hooks__checkpoint__interval=2, **changes)
        config.model.losses.gram = dict(GRAM, refresh=(0.5,))
        return config

    unbroken, whole = train(config(tmp_path / 'unbroken'))
    assert equal(whole.students[0], whole.teachers[0])
    train(config(tmp_path / 'broken'), stop_at=2)
    resumed, rest = train(config(tmp_path / 'broken', resume=True))
    assert rest.losses == whole.losses[2:]
    assert equal(everything(resumed), everything(unbroken))


def test_a_stage_may_do_without_a_head_and_without_masks(tmp_path, first):
    config = small_config(tmp_path)
    config.model.checkpoint = str(first)
    network = build_runner(config).model.distillation
    prefix = 'distillation.teacher.'
    saved = load_checkpoint(first)['state_dict']
    assert all(torch.equal(value, saved[prefix + name]) for name, value in network.student.state_dict().items())
    assert set(network.student.heads) == {'cls'}


def test_what_is_not_in_the_checkpoint_is_refused(tmp_path, first):
    def build(checkpoint=first, **changes):
        return build_runner(second(tmp_path, checkpoint, **changes))

    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        build(tmp_path / 'none.pth')
    released = export_backbone(first, tmp_path / 'released.safetensors')
    with pytest.raises(ValueError, match=r"no teacher with the heads \['cls', 'patch'\]; .*none.*freeze_backbone"):
        build(released)
    with pytest.raises(ValueError, match=r"The head 'patch' in .* does not fit"):
        build(model__heads__patch__prototypes=25)
    with pytest.raises(ValueError, match=r'The backbone in .*iter_2\.pth does not fit the model'):
        build(model__backbone__depth=3)
    with pytest.raises(ValueError, match='holds the weights of the backbone too'):
        build(model__backbone__checkpoint=str(released))
    with pytest.raises(ValueError, match='holds the weights of the backbone too'):
        build(model__backbone__pretrained=True)
    train(small_config(tmp_path / 'plain', train_cfg__max_epochs=1))
    with pytest.raises(ValueError, match=r"no teacher with the heads \['patch'\]; its heads: cls"):
        build(tmp_path / 'plain/iter_6.pth')
    config = small_config(tmp_path, model__backbone__mask_token=True)
    config.model.checkpoint = str(tmp_path / 'plain/iter_6.pth')
    with pytest.raises(ValueError, match=r'The backbone in .*iter_6\.pth does not fit.*\n(.*\n)*.*mask_token'):
        build_runner(config)


def test_load_from_goes_on_with_student_and_teacher_as_they_were(tmp_path, first):
    """mmengine's own way: for another loss it will do, since an anchor that is missing is made after the first step."""
    config = masked_config(tmp_path, 1, load_from=str(first))
    config.model.losses.gram = GRAM
    runner, recorder = train(config)
    saved = load_checkpoint(first)['state_dict']
    for name, states in (('student', recorder.students), ('teacher', recorder.teachers)):
        assert all(torch.equal(value, saved[f'distillation.{name}.{key}']) for key, value in states[0].items())
    network = runner.model.distillation
    assert equal(network.losses['gram'].anchor.state_dict(), network.teacher.backbone.state_dict())


def test_load_from_never_leaves_a_part_of_student_or_teacher_at_random(tmp_path, first):
    """mmengine would log the names and go on."""
    released = str(export_backbone(first, tmp_path / 'released.safetensors'))
    for changes in (
        dict(load_from=str(first), model__backbone__img_size=64),
        dict(load_from=str(first), model__heads__patch__prototypes=25),
        dict(load_from=str(first), model__backbone__depth=3),
        dict(load_from=released),
        dict(load_from=str(first), resume=True, model__backbone__depth=3),
    ):
        with pytest.raises(ValueError, match=r'are not in the checkpoint, .*model=dict\(checkpoint=\.\.\.\)'):
            build_runner(masked_config(tmp_path, **changes)).train()
