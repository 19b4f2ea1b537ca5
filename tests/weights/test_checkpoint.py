"""Checkpoints are read without running code from them; backbones are found under timm's names or refused."""

import argparse
import io
import pickle
import zipfile
from pathlib import Path

import numpy
import pytest
import timm
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from safetensors.torch import save_file
from torch import nn

from dino_plugin.backbones.feature_maps import TimmFeatureMaps
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.checkpoint import backbone_description, backbone_state
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone

ARGUMENTS_OF_BACKBONE = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
ARGUMENTS = dict(ARGUMENTS_OF_BACKBONE, num_classes=0)


def description_of(path):
    return backbone_description(load_checkpoint(path), path)


def vit(**changes) -> nn.Module:
    return timm.create_model('vit_tiny_patch16_224', **{**ARGUMENTS, **changes})


class Attack:
    """Touches a file when an unrestricted unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f'touch {self.path}',)


class Slope(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs, mode='loss'):
        return {'loss': (self.weight * torch.stack(list(inputs))).square().mean()}


def runner(work_dir: Path, **settings) -> Runner:
    return Runner(
        model=Slope(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2, dataset=[{'inputs': torch.ones(1)}] * 4, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=4),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        experiment_name=work_dir.name,
        **settings,
    )


def test_a_training_checkpoint_of_mmengine_is_read_with_its_history_and_resumes(tmp_path):
    unbroken = runner(tmp_path / 'unbroken')
    unbroken.train()
    path = tmp_path / 'unbroken' / 'epoch_2.pth'
    history = load_checkpoint(path)['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 4 and history.mean() > 0 and history.data[0].dtype == numpy.float64

    resumed = runner(tmp_path / 'resumed', resume=True, load_from=str(path))
    resumed.train()
    assert len(resumed.message_hub.get_scalar('train/loss').data[0]) == 6
    assert torch.equal(resumed.model.weight, unbroken.model.weight)


@pytest.mark.parametrize('legacy', [False, True])
def test_a_malicious_file_is_refused_by_name_and_runs_nothing(tmp_path, legacy):
    path, victim = tmp_path / 'evil.pth', tmp_path / 'victim'
    torch.save({'state_dict': {'w': Attack(victim)}}, path, _use_new_zipfile_serialization=not legacy)
    for load in (load_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match=r'evil\.pth is refused: .*imports (posix|nt|os)\.system') as error:
            load(str(path))
        assert "torch.save({'state_dict': network.state_dict()}, 'converted.pth')" in str(error.value)
    assert not victim.exists()


def test_a_config_inside_a_checkpoint_is_never_run_by_resuming(tmp_path):
    """mmengine's resume executes the text in meta['config'] as Python."""
    training = runner(tmp_path)
    training.train()
    checkpoint = load_checkpoint(tmp_path / 'epoch_1.pth')
    victim = tmp_path / 'victim'
    checkpoint['meta']['config'] = f'open({str(victim)!r}, "w").close()'
    torch.save(checkpoint, tmp_path / 'evil.pth')
    resumed = runner(tmp_path / 'resumed', load_from=str(tmp_path / 'evil.pth'), resume=True)
    resumed.load_or_resume()
    assert not victim.exists()


def test_an_unknown_class_is_refused_with_its_name(tmp_path):
    path = tmp_path / 'odd.pth'
    torch.save({'state_dict': {}, 'extra': io.BytesIO()}, path)
    with pytest.raises(ValueError, match=r'odd\.pth is refused: it imports _io\.BytesIO'):
        load_checkpoint(path)


class Peek:
    """Reaches for an attribute that mmengine's own checkpoints do not need."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_getattr_serves_the_history_and_nothing_else(tmp_path):
    path = tmp_path / 'peek.pth'
    torch.save({'state_dict': Peek()}, path)
    with pytest.raises(ValueError, match=r'peek\.pth is refused: it imports getattr'):
        load_checkpoint(path)


def test_arguments_arrays_and_scalars_of_the_original_code_are_allowed(tmp_path):
    path = tmp_path / 'dino.pth'
    saved = {
        'args': argparse.Namespace(arch='vit_small', lr=5e-4),
        'scalar': numpy.float64(0.5),
        'array': numpy.arange(3, dtype=numpy.uint32),
    }
    torch.save(saved, path)
    loaded = load_checkpoint(path)
    assert loaded['args'] == saved['args'] and loaded['scalar'] == 0.5 and (loaded['array'] == saved['array']).all()


@pytest.mark.parametrize('module', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_arrays_written_by_numpy_1_and_2_are_both_read(tmp_path, module):
    path, renamed = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save({'array': numpy.arange(4.0), 'scalar': numpy.float32(2)}, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(renamed, 'w') as target:
        for entry in source.namelist():
            content = source.read(entry)
            if entry.endswith('data.pkl'):
                content = content.replace(b'numpy._core.multiarray', module)
                assert module in content
            target.writestr(entry, content)
    loaded = load_checkpoint(renamed)
    assert loaded['array'].tolist() == [0, 1, 2, 3] and loaded['scalar'] == 2


@pytest.mark.parametrize('name', ['cut.pth', 'cut.safetensors', 'cut_legacy.pth'])
def test_a_truncated_file_is_reported_with_its_path(tmp_path, name):
    path = tmp_path / name
    weights = {'w': torch.zeros(1000)}
    if name.endswith('safetensors'):
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization='legacy' not in name)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=rf'{name} \(1500 bytes\) cannot be read'):
        load_checkpoint(path)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', bytes(range(256)) * 9, pickle.dumps({'a': 1})])
def test_a_file_of_something_else_is_reported_with_its_path(tmp_path, content):
    for name in ('page.pth', 'page.safetensors'):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    'header',
    [
        b'{"w": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4000000000]}}',  # beyond the end
        b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}',  # fewer bytes than the shape
        b'{"w": {"dtype": "O8", "shape": [1], "data_offsets": [0, 4]}}',  # Python objects
        b'[1, 2]',
    ],
)
def test_a_safetensors_file_that_lies_is_reported_with_its_path(tmp_path, header):
    (tmp_path / 'lies.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header + bytes(16))
    with pytest.raises(ValueError, match=r'lies\.safetensors .*cannot be read.*Copy or download it again'):
        load_checkpoint(tmp_path / 'lies.safetensors')


def test_a_malicious_file_of_hugging_face_is_refused_wherever_it_is_given(tmp_path):
    victim = tmp_path / 'victim'
    torch.save({'embeddings.cls_token': torch.ones(1), 'x': Attack(victim)}, tmp_path / 'pytorch_model.bin')
    calls = (
        lambda path: TimmBackbone('vit_tiny_patch16_224', checkpoint=path, **ARGUMENTS_OF_BACKBONE),
        lambda path: export_backbone(path, tmp_path / 'out'),
        load_checkpoint,
    )
    for call in calls:
        with pytest.raises(ValueError, match=r'pytorch_model\.bin is refused'):
            call(str(tmp_path / 'pytorch_model.bin'))
    assert not victim.exists()


def test_a_missing_file_and_a_file_of_no_dictionary_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load_checkpoint(tmp_path / 'nowhere.pth')
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='list'):
        load_checkpoint(tmp_path / 'list.pth')


def layouts() -> dict[str, dict]:
    """The same two networks, as every known kind of file holds them."""
    teacher, student = vit().state_dict(), vit().state_dict()
    ours = {f'distillation.teacher.backbone.model.{key}': value for key, value in teacher.items()}
    ours |= {f'distillation.student.backbone.model.{key}': value for key, value in student.items()}
    ours |= {'distillation.teacher.heads.cls.weight': torch.ones(1), 'distillation.centre': torch.ones(1)}
    original = {
        name: {f'module.backbone.{key}': value for key, value in state.items()} | {'module.head.mlp': torch.ones(1)}
        for name, state in (('teacher', teacher), ('student', student))
    }
    return {
        'ours': {'meta': {'epoch': 1}, 'state_dict': ours},
        'original': {**original, 'epoch': 3, 'args': argparse.Namespace()},
        'original, no DDP': {
            name: {key.removeprefix('module.'): value for key, value in state.items()}
            for name, state in original.items()
        },
        'plain': teacher,
        'nested plain': {'state_dict': teacher},
        'data parallel': {f'module.{key}': value for key, value in teacher.items()},
        'expected': (teacher, student),
    }


@pytest.mark.parametrize('layout', ['ours', 'original', 'original, no DDP'])
def test_teacher_and_student_are_found_in_training_checkpoints(layout):
    files = layouts()
    for source, expected in zip(('teacher', 'student'), files['expected'], strict=True):
        found = backbone_state(files[layout], source)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize('layout', ['plain', 'nested plain', 'data parallel'])
def test_plain_backbone_files_keep_their_names(layout):
    files = layouts()
    found = backbone_state(files[layout])
    assert found.keys() == files['expected'][0].keys()


def test_prefixes_are_stripped_only_at_the_start():
    found = backbone_state({'module.backbone.blocks.module.backbone.weight': torch.ones(1)})
    assert list(found) == ['blocks.module.backbone.weight']


def test_entries_that_are_no_named_tensors_are_passed_over():
    state = vit().state_dict()
    found = backbone_state({**state, 3: torch.ones(1), 'epoch': 7, 'numbers': [torch.ones(1)]})
    assert found.keys() == state.keys()


def test_an_unknown_layout_lists_the_keys_it_saw():
    with pytest.raises(ValueError, match=r"No teacher backbone.*'optimizer', 'epoch'"):
        backbone_state({'optimizer': {}, 'epoch': 1})
    only_student = {'state_dict': {'distillation.student.backbone.model.norm.weight': torch.ones(1)}}
    with pytest.raises(
        ValueError, match=r"No teacher backbone found\..*'state_dict\.distillation\.student\..*' \(student\)"
    ):
        backbone_state(only_student)
    with pytest.raises(ValueError, match='No ema backbone found'):
        backbone_state(only_student, 'ema')


def test_a_fitting_state_is_loaded_and_counted():
    model, state = vit(), vit().state_dict()
    report = load_backbone(model, state)
    assert len(report.loaded) == len(state) and not report.missing and not report.unexpected
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_mismatch_is_refused_with_keys_and_shapes_and_changes_nothing():
    model, state = vit(), vit(depth=2).state_dict()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del state['norm.weight']
    with pytest.raises(ValueError, match=r'in teacher\.pth does not fit') as error:
        load_backbone(model, state, name='teacher.pth')
    assert 'norm.weight (16,)' in str(error.value) and 'blocks.1.norm1.weight (16,)' in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    report = load_backbone(model, state, allow_mismatch=True)
    assert report.missing == ['norm.weight'] and len(report.unexpected) == 12
    assert torch.equal(model.blocks[0].attn.qkv.weight, state['blocks.0.attn.qkv.weight'])


@pytest.mark.parametrize('allow_mismatch', [False, True])
def test_another_width_and_foreign_keys_are_refused_even_when_mismatches_are_allowed(allow_mismatch):
    with pytest.raises(ValueError, match=r'cls_token is \(1, 1, 32\) in the checkpoint and \(1, 1, 16\) in the model'):
        load_backbone(vit(), vit(embed_dim=32).state_dict(), allow_mismatch)
    with pytest.raises(ValueError, match='0 loaded'):
        load_backbone(vit(), {'layers.0.weight': torch.ones(1)}, allow_mismatch)


@pytest.mark.parametrize('arguments', [{}, {'reg_tokens': 4}, {'no_embed_class': True, 'reg_tokens': 4}])
def test_position_embeddings_of_another_grid_are_resampled_and_prefix_tokens_kept(arguments):
    source, model = vit(img_size=64, **arguments), vit(img_size=(32, 48), **arguments)
    num_prefix = source.pos_embed.shape[1] - 64
    # A linear ramp along the columns stays one under any resampling.
    ramp = torch.arange(8.0).repeat(8)[None, :, None].expand(1, 64, 16)
    state = source.state_dict()
    state['pos_embed'] = torch.cat([state['pos_embed'][:, :num_prefix], ramp], dim=1)
    report = load_backbone(model, state)
    assert report.resampled == ['pos_embed']
    assert torch.equal(model.pos_embed[:, :num_prefix], state['pos_embed'][:, :num_prefix])
    grid = model.pos_embed[0, num_prefix:].detach().unflatten(0, (4, 6))
    assert torch.allclose(grid, grid[:1].expand_as(grid), atol=1e-5)
    steps = grid[0, 1:, 0] - grid[0, :-1, 0]
    assert (steps > 0).all() and steps[1:-1].mean().item() == pytest.approx(8 / 6, abs=0.05)


@pytest.mark.parametrize(('in_file', 'size'), [(32, 32), (32, 64), ((16, 40), (16, 40))])
def test_the_position_of_the_class_token_is_folded_or_zero_where_the_model_has_it_elsewhere(in_file, size):
    """Token plus position is the same sum, on the grid of the checkpoint (square or not) and on another."""
    source, model = vit(img_size=in_file), vit(no_embed_class=True, reg_tokens=2, img_size=size)
    state = source.state_dict() | {'reg_token': torch.ones(1, 2, 16)}
    described = dict(model_name='vit_tiny_patch16_224', timm_arguments=dict(ARGUMENTS, img_size=in_file))
    report = load_backbone(model, state, description=described)
    assert report.resampled == ([] if size == in_file else ['pos_embed'])
    assert torch.equal(model.cls_token, source.cls_token + source.pos_embed[:, :1])
    assert size != in_file or torch.equal(model.pos_embed, source.pos_embed[:, 1:])

    back = vit(reg_tokens=2, img_size=size)
    load_backbone(back, model.state_dict(), description=dict(described, timm_arguments=dict(ARGUMENTS, img_size=size)))
    assert torch.equal(back.cls_token, model.cls_token) and not back.pos_embed[:, :3].any()
    assert torch.equal(back.pos_embed[:, 3:], model.pos_embed)


def test_a_number_of_positions_that_is_no_grid_is_refused():
    state = vit().state_dict()
    with pytest.raises(ValueError, match=r'pos_embed is \(1, 15, 16\) in the checkpoint'):
        load_backbone(vit(), state | {'pos_embed': torch.ones(1, 15, 16)})


def test_the_description_of_a_backbone_is_found_in_the_checkpoint_or_beside_the_export(tmp_path):
    description = {'model_name': 'vit_tiny_patch16_224', 'timm_arguments': {'img_size': 32}}
    torch.save({'meta': {'backbone': description}, 'state_dict': {}}, tmp_path / 'train.pth')
    torch.save({'meta': {'backbone': {'depth': 3}}, 'state_dict': {}}, tmp_path / 'foreign.pth')
    save_file({'w': torch.ones(1)}, tmp_path / 'export.safetensors')
    assert description_of(tmp_path / 'train.pth') == description
    assert description_of(tmp_path / 'foreign.pth') is None
    assert description_of(tmp_path / 'export.safetensors') is None


def test_the_backbone_inside_a_segmenters_checkpoint_is_found():
    maps = TimmFeatureMaps(model_name='vit_tiny_patch16_224', **ARGUMENTS_OF_BACKBONE)
    segmenter = nn.ModuleDict({'backbone': maps, 'decode_head': nn.Conv2d(16, 2, 1)})
    model = vit()
    load_backbone(model, backbone_state({'state_dict': segmenter.state_dict(), 'meta': {}}))
    assert all(map(torch.equal, model.parameters(), maps.parameters()))
