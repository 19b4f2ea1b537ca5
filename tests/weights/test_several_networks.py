"""In a file with several networks the one that is asked for is found by its name, or the file is refused.

Key names of programs that are not installed here are written down as those programs save them.
"""

import copy
import itertools
import json
import runpy
import sys

import pytest
import timm
import torch
from lightly.models.modules import DINOProjectionHead, MaskedVisionTransformerTIMM
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from safetensors.torch import load_file
from test_official_checkpoints import LAYOUTS
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor, nn
from trained import train_and_save

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.engine.training.frozen_teacher import build_frozen_teacher
from dino_plugin.export.backbone import export_backbone
from dino_plugin.registry import MODELS
from dino_plugin.weights.checkpoint import backbone_description, backbone_state
from dino_plugin.weights.networks.subtrees import networks
from dino_plugin.weights.safe_loading import load_checkpoint

TINY = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)


def vit() -> nn.Module:
    return timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY)


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def holds(checkpoint: dict, source: str, expected: dict[str, Tensor]) -> bool:
    found = backbone_state(checkpoint, source)
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.fixture
def pair() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Teacher and student with different weights."""
    return vit().state_dict(), vit().state_dict()


# --- names in one dictionary ------------------------------------------------------------------------------------------

NAMES = {  # teacher, student
    'Lightly: DINO, DINOv2, iBOT, CAPI': ('teacher_backbone.vit.', 'student_backbone.vit.'),
    'Lightly: benchmark of DINO; the teacher has the plain name': ('backbone.vit.', 'student_backbone.vit.'),
    'Lightly: benchmark of BYOL': ('teacher_backbone.', 'backbone.'),
    'Lightly: benchmark of MoCo': ('key_backbone.', 'backbone.'),
    'Lightly: MoCo, BYOL, DenseCL, SMoG, TiCo': ('backbone_momentum.', 'backbone.'),
    'Lightly: MSN, PMSN; what is trained is the anchor': ('backbone.vit.', 'anchor_backbone.vit.'),
    'Lightly: I-JEPA': ('target_encoder.', 'encoder.'),
    'solo-learn': ('momentum_backbone.', 'backbone.'),
    'MoCo': ('encoder_k.', 'encoder_q.'),
    'MoCo v3': ('momentum_encoder.', 'base_encoder.'),
    'BYOL': ('target_encoder.net.', 'online_encoder.net.'),
    'mmselfsup, mmpretrain: BYOL': ('target_net.module.0.', 'backbone.'),
    'mmselfsup, mmpretrain: MoCo v3': ('momentum_encoder.module.0.', 'backbone.'),
    'mmselfsup: DINO': ('teacher.module.0.', 'student.0.'),
    'mmselfsup: CAE': ('teacher.', 'backbone.'),
    'lightly-train: DINO': (
        'teacher_embedding_model.wrapped_model._model.',
        'student_embedding_model.wrapped_model._model.',
    ),
    'lightly-train: DenseCL': (
        'key_encoder.embedding_model.wrapped_model._model.',
        'query_encoder.embedding_model.wrapped_model._model.',
    ),
    'lightly-train: DetCon': (
        'embedding_model_momentum.wrapped_model._model.',
        'embedding_model.wrapped_model._model.',
    ),
    'DINOv3': ('model_ema.backbone.', 'student.backbone.'),
    'ema-pytorch': ('ema_model.', 'online_model.'),
    'mmrazor': ('teacher.backbone.', 'architecture.backbone.'),
    'camel case': ('modelEMA.', 'model.'),
}
OUTSIDE = ('', 'module.', 'model.', '_orig_mod.', 'module.model._orig_mod.')


@pytest.mark.parametrize('names', NAMES.values(), ids=NAMES)
@pytest.mark.parametrize('order', ['teacher first', 'student first'])
def test_teacher_and_student_are_found_by_the_names_of_each_program(pair, names, order):
    teacher, student = (prefixed(name, state) for name, state in zip(names, pair))
    state = teacher | student if order == 'teacher first' else student | teacher
    rest = {'queue': torch.ones(4, 2), 'projection_head.layers.0.weight': torch.ones(2, 2)}
    rest |= {f'{name.split(".")[0]}_head.conv1.weight': torch.ones(2, 2, 1, 1) for name in names}
    for outside in OUTSIDE:
        checkpoint = {'epoch': 3, 'state_dict': prefixed(outside, state | rest)}
        assert holds(checkpoint, 'teacher', pair[0]) and holds(checkpoint, 'student', pair[1])


ENTRIES = {
    'DINO, iBOT': ('teacher', 'student'),
    'timm': ('state_dict_ema', 'state_dict'),
    'DeiT, ConvNeXt': ('model_ema', 'model'),
    'I-JEPA, MSN': ('target_encoder', 'encoder'),
    'BYOL-PyTorch': ('target_network_state_dict', 'online_network_state_dict'),
    'others': ('ema_state_dict', 'state_dict'),
}


@pytest.mark.parametrize(('teacher', 'student'), ENTRIES.values(), ids=ENTRIES)
def test_teacher_and_student_are_found_as_entries_of_the_file(pair, teacher, student):
    for inside in ('', 'module.', 'module.backbone.'):
        checkpoint = {student: prefixed(inside, pair[1]), teacher: prefixed(inside, pair[0])}
        checkpoint |= {'optimizer': {'state': {0: {'exp_avg': torch.ones(1)}}, 'param_groups': []}, 'epoch': 3}
        assert holds(checkpoint, 'teacher', pair[0]) and holds(checkpoint, 'student', pair[1])


@pytest.mark.parametrize('layout', LAYOUTS)
def test_teacher_and_student_are_found_whatever_names_their_layers_have(layout):
    states = {name: LAYOUTS[layout][1]() for name in ('teacher', 'student')}
    states['student'] = {key: value + 1 for key, value in states['student'].items()}
    for names in NAMES.values():
        checkpoint = {'state_dict': {}}
        for source, name in zip(states, names):
            checkpoint['state_dict'] |= prefixed(name, states[source])
        for source, state in states.items():
            assert holds(checkpoint, source, backbone_state(state))


def test_the_innermost_name_decides(pair):
    """A training with a student, of which an average is kept; its loss holds the teacher."""
    checkpoint = {'state_dict_ema': prefixed('student.', pair[1]) | prefixed('loss.teacher.', pair[0])}
    assert holds(checkpoint, 'teacher', pair[0]) and holds(checkpoint, 'student', pair[1])


def test_a_network_may_stand_beside_the_tensors_of_the_plain_one(pair):
    for name in ('ema.', 'momentum_encoder.module.0.'):
        checkpoint = pair[1] | prefixed(name, pair[0])
        assert holds(checkpoint, 'teacher', pair[0]) and holds(checkpoint, 'student', pair[1])


def test_wrappers_inside_a_network_are_removed_wherever_they_stand(pair):
    state = {
        key.replace('blocks.0.', 'blocks.0._checkpoint_wrapped_module._orig_mod.'): pair[0][key] for key in pair[0]
    }
    assert holds({'state_dict': prefixed('_fsdp_wrapped_module.backbone._orig_mod.', state)}, 'teacher', pair[0])


# --- the real programs ------------------------------------------------------------------------------------------------


class LightlyDINO(nn.Module):
    """As in Lightly's example of DINO, and of DINOv2 with a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.student_backbone = MaskedVisionTransformerTIMM(vit=vit())
        self.student_head = DINOProjectionHead(16, 16, 8, 32, freeze_last_layer=1)
        self.teacher_backbone = MaskedVisionTransformerTIMM(vit=vit())
        self.teacher_head = DINOProjectionHead(16, 16, 8, 32)


def test_a_model_of_lightly_saved_by_itself_or_by_lightning(tmp_path):
    model = LightlyDINO()
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    torch.save({'state_dict': model.state_dict(), 'pytorch-lightning_version': '2.5', 'loops': {}}, tmp_path / 'a.ckpt')
    for name in ('model.pth', 'a.ckpt'):
        checkpoint = load_checkpoint(tmp_path / name)
        assert holds(checkpoint, 'teacher', model.teacher_backbone.vit.state_dict())
        assert holds(checkpoint, 'student', model.student_backbone.vit.state_dict())


LOSS = dict(type='CrossEntropyLoss')
PREDICTOR = dict(type='LinearNeck', in_channels=4, out_channels=4)
MMPRETRAINS = {
    'BYOL': (dict(type='BYOL', head=dict(type='LatentPredictHead', loss=LOSS, predictor=PREDICTOR)), 'target_net'),
    'MoCo': (dict(type='MoCo', queue_len=8, feat_dim=4, head=dict(type='ContrastiveHead', loss=LOSS)), 'encoder_k'),
}


@pytest.mark.parametrize(('config', 'name'), MMPRETRAINS.values(), ids=MMPRETRAINS)
def test_a_model_of_mmpretrain_holds_its_backbone_and_the_moving_average(config, name):
    models = pytest.importorskip('mmpretrain.registry', reason='the openmmlab extra installs mmpretrain').MODELS
    pytest.importorskip('mmpretrain.models')
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=64)
    backbone = dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8, _scope_='mmpretrain')
    neck = dict(type='LinearNeck', in_channels=16, out_channels=4, _scope_='mmpretrain')
    model = models.build(dict(config, backbone=backbone, neck=neck, _scope_='mmpretrain'))
    average = getattr(model, name).module[0]
    for index, parameter in enumerate(average.parameters()):
        nn.init.constant_(parameter, 1 + index)
    checkpoint = {'state_dict': model.state_dict(), 'meta': {}}
    assert holds(checkpoint, 'teacher', backbone_state(average.state_dict()))
    assert holds(checkpoint, 'student', backbone_state(model.backbone.state_dict()))
    assert not holds(checkpoint, 'teacher', backbone_state(model.backbone.state_dict()))


def test_mmengines_ema_hook_saves_the_average_under_the_plain_name():
    from mmengine.model import ExponentialMovingAverage

    hook, model = EMAHook(), nn.ModuleDict({'backbone': vit()})
    hook.ema_model = ExponentialMovingAverage(model)
    for parameter in hook.ema_model.parameters():
        nn.init.normal_(parameter)
    average = copy.deepcopy(hook.ema_model.module['backbone'].state_dict())
    trained = copy.deepcopy(model['backbone'].state_dict())
    checkpoint = {'state_dict': dict(model.state_dict()), 'message_hub': {}, 'meta': {}}
    hook.before_save_checkpoint(None, checkpoint)
    assert holds(checkpoint, 'teacher', average) and holds(checkpoint, 'student', trained)
    # Each of two marks tells that the file is mmengine's.
    steps = checkpoint['ema_state_dict'].pop('steps')
    assert holds(checkpoint, 'teacher', average) and holds(checkpoint, 'student', trained)
    del checkpoint['message_hub']
    checkpoint['ema_state_dict']['steps'] = steps
    assert holds(checkpoint, 'teacher', average) and holds(checkpoint, 'student', trained)


def test_lightnings_weight_averaging_saves_the_average_under_the_plain_name():
    callbacks = pytest.importorskip('pytorch_lightning.callbacks')
    if not hasattr(callbacks, 'WeightAveraging'):
        pytest.skip('WeightAveraging is new in Lightning 2.6')
    callback, model = callbacks.WeightAveraging(), nn.ModuleDict({'backbone': vit()})
    callback._average_model = torch.optim.swa_utils.AveragedModel(nn.ModuleDict({'backbone': vit()}))
    checkpoint = {'state_dict': model.state_dict(), 'pytorch-lightning_version': '2.6'}
    callback.on_save_checkpoint(None, None, checkpoint)
    assert holds(checkpoint, 'teacher', callback._average_model.module['backbone'].state_dict())
    assert holds(checkpoint, 'student', model['backbone'].state_dict())


def test_timms_checkpoint_saver_with_an_average(tmp_path):
    model = vit()
    average = ModelEmaV3(model)
    for parameter in average.module.parameters():
        nn.init.normal_(parameter)
    optimizer = torch.optim.AdamW(model.parameters())
    saver = CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(epoch=0)
    checkpoint = load_checkpoint(tmp_path / 'last.pth.tar')
    assert holds(checkpoint, 'teacher', average.module.state_dict()) and holds(
        checkpoint, 'student', model.state_dict()
    )


# --- what is no choice ------------------------------------------------------------------------------------------------


def test_a_file_with_one_plain_network_answers_every_question(pair):
    for prefix in ('', 'backbone.', 'model.encoder.', 'wrapped_model._model.'):
        for source in ('teacher', 'student'):
            assert holds({'state_dict': prefixed(prefix, pair[0])}, source, pair[0])


@pytest.mark.parametrize(
    'helper',
    [
        'target_generator.encoder.',
        'gram_teacher.backbone.',
        'losses.gram.anchor.backbone.',
        'tokenizer.encoder.',
        'decode_head.',
        'heads.cls.',
        'neck.',
    ],
)
def test_a_network_that_only_gives_targets_is_neither_unless_it_is_named(pair, helper):
    checkpoint = {'state_dict': prefixed(helper, pair[1]) | prefixed('backbone.', pair[0])}
    assert holds(checkpoint, 'teacher', pair[0]) and holds(checkpoint, 'student', pair[0])
    assert holds(checkpoint, helper.removesuffix('.'), pair[1])


def test_two_names_of_one_network_are_one_network(pair):
    """DINOv3's moving average is its teacher under two names; DenseCL's backbone is the encoder's."""
    student = prefixed('student.backbone.', pair[1])
    checkpoint = student | prefixed('teacher.backbone.', pair[0]) | prefixed('model_ema.backbone.', pair[0])
    assert holds({'model': checkpoint}, 'teacher', pair[0])


FAMILIES = (
    'resnet18', 'convnext_atto', 'vit_tiny_r_s16_p8_224', 'mobilenetv3_small_050', 'regnetx_002', 'densenet121',
    'swin_tiny_patch4_window7_224', 'xcit_nano_12_p16_224', 'levit_128s', 'vgg11',
)  # fmt: skip


@pytest.mark.parametrize('name', FAMILIES)
def test_networks_of_every_kind_are_told_apart_and_never_cut_into_pieces(name):
    with torch.device('meta'):
        state = timm.create_model(name, num_classes=0).state_dict()
    found = networks({'state_dict': prefixed('a.encoder_q.', state) | prefixed('a.encoder_k.', state)})
    assert [(network.path, network.role) for network in found] == [
        ('state_dict.a.encoder_q', 'student'),
        ('state_dict.a.encoder_k', 'teacher'),
    ]
    assert all(network.tensors.keys() == state.keys() for network in found)
    assert [network.tensors.keys() for network in networks(state)] == [state.keys()]


def test_a_network_that_nobody_knows_is_found_by_the_words_alone():
    state = {'layer.weight': torch.ones(2), 'layer.bias': torch.zeros(2)}
    other = {key: value + 1 for key, value in state.items()}
    for teacher, student in NAMES.values():
        checkpoint = {'state_dict': prefixed(teacher, state) | prefixed(student, other)}
        found = {network.role: network for network in networks(checkpoint)}
        assert len(found) == 2
        assert all(
            torch.equal(value, torch.ones(2)) for key, value in backbone_state(checkpoint).items() if 'weight' in key
        )


def test_a_network_that_nobody_knows_keeps_its_head():
    state = {'layer.weight': torch.ones(2), 'head.weight': torch.ones(2)}
    assert backbone_state({'state_dict': prefixed('backbone.', state)}).keys() == state.keys()
    assert backbone_state({'state_dict': state}).keys() == state.keys()


# --- what is refused --------------------------------------------------------------------------------------------------

AMBIGUOUS = {
    'two plain names': ('net_a.', 'net_b.'),
    'two teachers': ('teacher.backbone.', 'model_ema.backbone.'),
    'two students': ('student_1.backbone.', 'student_2.backbone.'),
    'an average of a training with a teacher': ('state_dict.teacher.', 'state_dict_ema.teacher.'),
}


@pytest.mark.parametrize(('first', 'second'), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_names_that_do_not_decide_are_refused_and_a_part_of_the_path_decides(pair, first, second):
    checkpoint = {'model': prefixed(first, pair[0]) | prefixed(second, pair[1])}
    source = 'student' if 'student' in first else 'teacher'
    names = [f'model.{name}'.rstrip('.') for name in (first, second)]
    with pytest.raises(ValueError, match='their weights differ') as error:
        backbone_state(checkpoint, source)
    assert all(f"'{name}'" in str(error.value) for name in names)
    assert 'checkpoint_source=' in str(error.value) and '--source' in str(error.value)
    for name, state in zip(names, pair):
        assert holds(checkpoint, name, state)
        assert holds(checkpoint, '.'.join(name.split('.')[-2:]), state)
    assert holds({'model': prefixed(first, pair[0]) | prefixed(second, pair[0])}, source, pair[0])


TEACHERS = ('teacher', 'teachers', 'momentum', 'ema', 'EMA', 'average', 'averaged', 'avg', 'swa', 'target', 'key', 'k')
STUDENTS = ('student', 'students', 'query', 'q', 'online', 'anchor')


@pytest.mark.parametrize(
    ('word', 'source', 'missing'),
    [(word, 'teacher', 'student') for word in TEACHERS] + [(word, 'student', 'teacher') for word in STUDENTS],
)
def test_the_other_network_is_never_taken_in_place_of_one_that_is_not_there(pair, word, source, missing):
    for name in (f'module.encoder_{word}', f'{word}.0.net', f'{word}_model', f'{word}Model'):
        checkpoint = {'state_dict': prefixed(f'{name}.', pair[0])}
        assert holds(checkpoint, source, pair[0])
        with pytest.raises(ValueError, match=rf"No {missing} backbone found.*'state_dict\.{name}' \({source}\)"):
            backbone_state(checkpoint, missing)


def test_a_name_that_is_not_in_the_file_is_refused_with_the_names_that_are(pair):
    checkpoint = {'state_dict': prefixed('encoder_q.', pair[0]) | prefixed('encoder_k.', pair[1])}
    with pytest.raises(ValueError, match=r"No encoder backbone.*'state_dict\.encoder_q' \(student\), .*encoder_k"):
        backbone_state(checkpoint, 'encoder')


def test_a_full_name_comes_before_a_part_of_another(pair):
    checkpoint = prefixed('net.', pair[0]) | prefixed('other.net.', pair[1])
    assert holds(checkpoint, 'net', pair[0]) and holds(checkpoint, 'other', pair[1])


def test_networks_of_two_sizes_are_described_by_the_one_that_is_asked_for():
    sizes = {'teacher.': 'vit_small_patch16_224', 'student.': 'vit_tiny_patch16_224'}
    with torch.device('meta'):
        states = {name: timm.create_model(model, num_classes=0).state_dict() for name, model in sizes.items()}
    checkpoint = {'state_dict': dict(itertools.chain(*(prefixed(name, states[name]).items() for name in sizes)))}
    for name, model in sizes.items():
        assert backbone_description(checkpoint, 'a.pth', name.rstrip('.'))['model_name'] == model
    assert backbone_description(checkpoint, 'a.pth') is None


# --- every reader -----------------------------------------------------------------------------------------------------


@pytest.fixture
def of_solo_learn(pair, tmp_path):
    """A file with the two networks, and which network they are beside it."""
    state = prefixed('backbone.', pair[1]) | prefixed('momentum_backbone.', pair[0])
    torch.save({'state_dict': state}, tmp_path / 'last.ckpt')
    card = dict(model_name='vit_tiny_patch16_224', timm_arguments=TINY, position_resampling='timm')
    (tmp_path / 'last.json').write_text(json.dumps(card))
    return tmp_path / 'last.ckpt'


def _build(kind: str, network: str, path, **options) -> nn.Module:
    backbone = dict(type=f'dino_plugin.{network}', checkpoint=str(path), **options)
    return MODELS.build(dict(type=f'dino_plugin.{kind}', backbone=backbone)).backbone.model


def _exported(path, **options) -> nn.Module:
    source = options.get('checkpoint_source', 'teacher')
    model = vit()
    model.load_state_dict(load_file(export_backbone(path, path.parent / 'exported', source)))
    return model


READERS = {
    'k-NN, retrieval, attention': lambda path, **options: _build('FeatureExtractor', 'TimmBackbone', path, **options),
    'clips': lambda path, **options: _build('ClipSegmenter', 'TimmBackbone', path, **options),
    'segmentation, detection': lambda path, **options: (
        MODELS.build(dict(type='dino_plugin.TimmFeatureMaps', checkpoint=str(path), **options)).backbone.model
    ),
    'classification': lambda path, **options: (
        MODELS.build(dict(type='dino_plugin.TimmFeatureVector', checkpoint=str(path), **options)).backbone.model
    ),
    'export': _exported,
}


@pytest.mark.parametrize('read', READERS.values(), ids=READERS)
def test_every_reader_takes_the_teacher_or_what_it_is_told(pair, of_solo_learn, read):
    sources = {'teacher': pair[0], 'student': pair[1], 'momentum_backbone': pair[0]}
    assert holds(read(of_solo_learn).state_dict(), 'teacher', pair[0])
    for source, state in sources.items():
        assert holds(read(of_solo_learn, checkpoint_source=source).state_dict(), 'teacher', state)


def test_a_new_training_starts_from_the_teacher(pair, of_solo_learn):
    config = dict(
        type='dino_plugin.SelfDistillationModel',
        backbone=dict(type='dino_plugin.TimmBackbone', checkpoint=str(of_solo_learn)),
        heads=dict(cls=dict(type='dino_plugin.DINOHead', prototypes=8, hidden_dim=8, bottleneck_dim=4)),
        losses=dict(
            dino=dict(
                type='dino_plugin.DINOLoss',
                head='cls',
                teacher_temperature=0.07,
                target=dict(type='dino_plugin.Centering'),
            )
        ),
        momentum=0.9,
    )
    model = MODELS.build(config).distillation
    for network in (model.student, model.teacher):
        assert holds(network.backbone.model.state_dict(), 'teacher', pair[0])


def test_the_frozen_teacher_is_the_teacher_of_its_file_whatever_else_that_holds(tmp_path):
    path = train_and_save(tmp_path)
    checkpoint = load_checkpoint(path)
    state = checkpoint['state_dict']
    teacher = {key: value for key, value in state.items() if key.startswith('distillation.teacher.')}
    others = {key.replace('distillation.teacher.', 'momentum.'): value + 1 for key, value in teacher.items()}
    torch.save(checkpoint | {'state_dict': others | state}, path)
    head = dict(type='dino_plugin.DINOHead', prototypes=32, hidden_dim=48, bottleneck_dim=16)
    network = dict(type='dino_plugin.TimmBackbone', mask_token=True, local_norm=True)
    with pytest.raises(ValueError, match=r"could be the 'teacher'.*distillation\.teacher.*momentum"):
        build_frozen_teacher({}, str(path), dict(cls=head), network)
    torch.save(checkpoint, path)
    frozen = build_frozen_teacher({}, str(path), dict(cls=head), network)
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, teacher[f'distillation.teacher.{name}']), name


def test_the_tool_that_exports_takes_the_name_of_a_network(pair, of_solo_learn, repository, monkeypatch):
    tool, out = str(repository / 'tools/export_backbone.py'), of_solo_learn.parent / 'named.pth'
    monkeypatch.setattr(sys, 'argv', [tool, str(of_solo_learn), str(out), '--source', 'backbone'])
    runpy.run_path(tool, run_name='__main__')
    (exported,) = out.parent.glob('named-*.pth')
    assert holds(load_checkpoint(exported), 'teacher', pair[1])


def test_the_log_says_which_network_was_taken_and_which_were_not(of_solo_learn, caplog):
    logger = MMLogger.get_instance('several_networks')
    logger.addHandler(caplog.handler)
    TimmBackbone(checkpoint=str(of_solo_learn))
    assert (
        "The 'teacher' of the checkpoint is 'state_dict.momentum_backbone' (teacher). It also holds: "
        "'state_dict.backbone'." in caplog.text
    )


def test_a_file_with_networks_of_two_sizes_needs_no_name_of_the_one_that_is_asked_for(tmp_path):
    sizes = {'teacher': 'vit_small_patch16_224', 'student': 'vit_tiny_patch16_224'}
    states = {name: timm.create_model(model, num_classes=0).state_dict() for name, model in sizes.items()}
    torch.save(states, tmp_path / 'distilled.pth')
    for name, model in sizes.items():
        backbone = TimmBackbone(checkpoint=str(tmp_path / 'distilled.pth'), checkpoint_source=name)
        assert backbone.description['model_name'] == model and backbone.position_resampling == 'dino'
        assert holds(backbone.model.state_dict(), 'teacher', states[name])
