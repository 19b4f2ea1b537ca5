"""PyTorch's distributed checkpoints are read without a process group, and without running anything from them."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed.checkpoint as dcp
from processes import run_in_processes
from torch import Tensor

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.weights.checkpoint import backbone_state
from dino_plugin.weights.reading.sharded import is_sharded, load_sharded
from dino_plugin.weights.safe_loading import load_checkpoint

TINY = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)


def tensors(seed: int) -> dict[str, Tensor]:
    """Of sizes that two processes cannot share evenly, and one without axes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {'rows': (5, 3), 'one': (1, 7), 'half': (6,), 'scalar': ()}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return made | {'half': made['half'].bfloat16(), 'count': torch.tensor([3, 4])}


def save(folder: Path, state: dict[str, Tensor]) -> None:
    dcp.save({'model': state, 'iteration': 7}, checkpoint_id=folder)


def test_a_checkpoint_of_one_process_is_what_was_saved(tmp_path):
    state = tensors(0)
    optimizer = {'state': {'rows': {'exp_avg': torch.ones(5, 3)}}, 'param_groups': [{'lr': 0.1}]}
    dcp.save({'model': state, 'optimizer': optimizer, 'iteration': 7}, checkpoint_id=tmp_path)
    assert is_sharded(tmp_path) and not is_sharded(tmp_path.parent)
    found = load_sharded(tmp_path)
    assert found.keys() == {f'model.{name}' for name in state}
    for name, value in state.items():
        assert torch.equal(found[f'model.{name}'], value) and found[f'model.{name}'].dtype == value.dtype


def _save_shards(rank: int, folder: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh('cpu', (2,))
    shards = {name: distribute_tensor(value, mesh, [Shard(0)]) for name, value in tensors(0).items() if value.ndim}
    save(folder, shards | {'scalar': tensors(0)['scalar']})


def test_shards_of_two_processes_are_joined(tmp_path):
    run_in_processes(_save_shards, tmp_path)
    assert len(list(tmp_path.glob('*.distcp'))) == 2
    found = load_sharded(tmp_path)
    for name, value in tensors(0).items():
        assert torch.equal(found[f'model.{name}'], value), name


def test_the_teacher_of_a_training_of_dinov3_is_its_moving_average(tmp_path):
    teacher, student = (timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY).state_dict() for _ in range(2))
    state = {f'student.backbone.{key}': value for key, value in student.items()}
    state |= {f'model_ema.backbone.{key}': value for key, value in teacher.items()}
    save(tmp_path, state | {'student.dino_head.mlp.0.weight': torch.ones(2, 2)})
    for source, expected in (('teacher', teacher), ('student', student)):
        found = backbone_state(load_sharded(tmp_path), source)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_backbone_takes_the_folder_as_its_checkpoint(tmp_path):
    state = timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY).state_dict()
    save(tmp_path, {f'model_ema.backbone.{key}': value for key, value in state.items()})
    found = TimmBackbone('vit_tiny_patch16_224', checkpoint=str(tmp_path), **TINY).model.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def _save_parts(rank: int, folder: Path) -> None:
    """As DINOv2 does."""
    from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType

    model = FullyShardedDataParallel(torch.nn.Linear(5, 3), device_id=torch.device('cpu'))
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.LOCAL_STATE_DICT):
        torch.save({'model': model.state_dict()}, folder / f'model_0000009.rank_{rank}.pth')


def test_the_part_of_one_process_is_refused_with_the_file_to_take(tmp_path):
    run_in_processes(_save_parts, tmp_path)
    with pytest.raises(ValueError, match=r'rank_0\.pth is refused: .*part of one process.*teacher_checkpoint\.pth'):
        load_checkpoint(tmp_path / 'model_0000009.rank_0.pth')


class Attack:
    """Touches a file when it is unpickled freely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_nothing_in_the_description_runs(tmp_path):
    """PyTorch's reader does run it."""
    folder, victim = tmp_path / 'folder', tmp_path / 'victim'
    save(folder, tensors(0))
    content = pickle.loads((folder / '.metadata').read_bytes())
    content.planner_data = Attack(victim)
    (folder / '.metadata').write_bytes(pickle.dumps(content))
    assert load_sharded(folder).keys() == {f'model.{name}' for name in tensors(0)}
    assert not victim.exists()
    dcp.FileSystemReader(folder).read_metadata()
    assert victim.exists()


def test_nothing_in_a_piece_runs(tmp_path):
    folder, victim = tmp_path / 'folder', tmp_path / 'victim'
    save(folder, {'rows': torch.ones(5, 3)})
    content = pickle.loads((folder / '.metadata').read_bytes())
    torch.save({'rows': Attack(victim)}, folder / 'evil.distcp')
    for place in content.storage_data.values():
        place.relative_path, place.offset = 'evil.distcp', 0
        place.length = (folder / 'evil.distcp').stat().st_size
    (folder / '.metadata').write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match='is no tensor, or larger'):
        load_sharded(folder)
    assert not victim.exists()


def _with_places(folder: Path, **changes) -> None:
    content = pickle.loads((folder / '.metadata').read_bytes())
    for place in content.storage_data.values():
        for name, value in changes.items():
            setattr(place, name, value)
    (folder / '.metadata').write_bytes(pickle.dumps(content))


def _with_sizes(folder: Path, size: tuple[int, ...]) -> None:
    content = pickle.loads((folder / '.metadata').read_bytes())
    content.state_dict_metadata['model.rows'].size = torch.Size(size)
    (folder / '.metadata').write_bytes(pickle.dumps(content))


def _with_a_bomb(folder: Path) -> None:
    """A piece that unpacks to a thousand times its bytes."""
    torch.save(torch.zeros(1000, 1000), folder / 'plain.distcp')
    bomb = zipfile.ZipFile(folder / 'bomb.distcp', 'w', zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(folder / 'plain.distcp') as plain, bomb:
        for record in plain.infolist():
            bomb.writestr(record.filename, plain.read(record))
    _with_sizes(folder, (1000, 1000))
    _with_places(folder, relative_path='bomb.distcp', offset=0, length=(folder / 'bomb.distcp').stat().st_size)


DAMAGES = {
    'a description cut short': (
        lambda folder: (folder / '.metadata').write_bytes((folder / '.metadata').read_bytes()[:99]),
        'truncated|ran out',
    ),
    'a description of something else': (
        lambda folder: (folder / '.metadata').write_bytes(pickle.dumps([1])),
        'no attribute',
    ),
    'a missing file': (lambda folder: (folder / '__0_0.distcp').unlink(), '__0_0.distcp is no file'),
    'a file cut short': (lambda folder: os.truncate(folder / '__0_0.distcp', 1500), '__0_0.distcp is truncated'),
    'a piece in another folder': (
        lambda folder: _with_places(folder, relative_path='../other/__0_0.distcp'),
        'no file in the folder',
    ),
    'changed pieces': (lambda folder: _with_places(folder, transform_descriptors=['zstd']), 'transformations'),
    'a claim of much more memory': (lambda folder: _with_sizes(folder, (1 << 44, 3)), 'rows are not the whole tensor'),
    'a bomb': (_with_a_bomb, 'a piece of bomb.distcp is compressed'),
    'another shape': (lambda folder: _with_sizes(folder, (3, 5)), 'a piece of model.rows reaches beyond it'),
}


@pytest.mark.parametrize(('damage', 'reason'), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused_with_the_reason_and_the_name_of_pytorchs_converter(tmp_path, damage, reason):
    for name in ('folder', 'other'):
        save(tmp_path / name, {'rows': torch.randn(5, 3)})
    load_sharded(tmp_path / 'folder')
    damage(tmp_path / 'folder')
    with pytest.raises(
        ValueError, match=rf'folder cannot be read .*({reason}).*format_utils dcp_to_torch .*folder check'
    ):
        load_sharded(tmp_path / 'folder')
