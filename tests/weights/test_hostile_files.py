"""Files that are damaged, lie or attack are refused in words, by every reader, before memory or time is lost."""

import io
import json
import resource
from pathlib import Path

import pytest
import timm
import torch
from hostile_files import DAMAGED, DESCRIBED, DESCRIPTION, WRONG_NUMBERS, Attack, network_state
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from dino_plugin.backbones.feature_maps import TimmFeatureMaps
from dino_plugin.backbones.joined_maps import TimmJoinedMaps
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.networks import descriptions
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone


def training(path: Path, **changes) -> str:
    torch.save({'meta': {'backbone': DESCRIPTION}, 'state_dict': network_state()} | changes, path)
    return str(path)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_or_lying_file_is_refused_with_its_name_and_without_its_memory(tmp_path, name):
    suffix, make = DAMAGED[name]
    path = tmp_path / f'file{suffix}'
    make(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (load_checkpoint, CheckpointLoader.load_checkpoint, lambda path: TimmBackbone(checkpoint=path)):
        with pytest.raises(ValueError, match=r'Checkpoint .*file'):
            read(str(path))
    gained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kB
    assert gained < 200_000


def test_a_file_that_pytorch_wrote_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = training(tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(load_checkpoint(path)['state_dict']['norm.weight'], network_state()['norm.weight'])


@pytest.mark.parametrize('name', WRONG_NUMBERS)
def test_weights_that_are_no_finite_numbers_are_refused_by_every_reader(tmp_path, name):
    path = tmp_path / 'a.pth'
    WRONG_NUMBERS[name](path)
    kind = 'type that cannot be a weight' if name in ('int8', 'complex') else r'no numbers, in blocks\.0\.attn\.qkv'
    for read in (
        lambda: TimmBackbone(checkpoint=str(path)),
        lambda: TimmBackbone(checkpoint=str(path), allow_mismatch=True),
        lambda: export_backbone(path, tmp_path / 'out'),
    ):
        with pytest.raises(ValueError, match=rf'a\.pth.* {kind}'):
            read()
    assert [file.name for file in tmp_path.iterdir()] == ['a.pth']


def test_mmengines_own_reader_refuses_infinite_weights_unless_it_is_told_to_read_them(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    WRONG_NUMBERS['not a number'](path)
    with pytest.raises(ValueError, match=r'a\.pth holds .*state_dict\.blocks\.0\.attn\.qkv\.weight'):
        CheckpointLoader.load_checkpoint(str(path))
    monkeypatch.setenv('DINO_PLUGIN_ALLOW_NONFINITE', '1')
    assert CheckpointLoader.load_checkpoint(str(path))['state_dict']['blocks.0.attn.qkv.weight'][3, 5].isnan()
    assert TimmBackbone(checkpoint=str(path)).model.blocks[0].attn.qkv.weight[3, 5].isnan()


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_floating_types_are_converted(tmp_path, dtype):
    state = {key: value.to(dtype) for key, value in network_state().items()}
    model = TimmBackbone(checkpoint=training(tmp_path / 'a.pth', state_dict=state)).model
    found = model.state_dict()
    assert all(found[key].dtype == torch.float32 and torch.equal(found[key], state[key].float()) for key in state)


def test_a_weight_that_is_infinite_only_in_the_models_type_is_refused(tmp_path):
    state = {key: value.double() for key, value in network_state().items()}
    state['norm.bias'][0] = 1e300
    with pytest.raises(ValueError, match=r'a\.pth holds infinite .*norm\.bias'):
        TimmBackbone(checkpoint=training(tmp_path / 'a.pth', state_dict=state))


def test_counters_of_batch_norms_stay_integers():
    source = timm.create_model('resnet10t', num_classes=0)
    state = {
        key: value + 7 if key.endswith('num_batches_tracked') else value for key, value in source.state_dict().items()
    }
    model = timm.create_model('resnet10t', num_classes=0)
    load_backbone(model, state)
    assert model.bn1.num_batches_tracked == 7 and model.bn1.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize('name', DESCRIBED)
def test_a_description_that_is_more_than_a_network_of_its_size_is_refused(tmp_path, name, monkeypatch):
    path = tmp_path / 'a.pth'
    DESCRIBED[name](path)
    real = timm.create_model

    def watched(model_name, *arguments, **options):
        model = real(model_name, *arguments, **options)
        assert sum(weight.numel() for weight in model.parameters() if not weight.is_meta) < 1e6
        assert not {'pretrained_cfg', 'checkpoint_path'} & options.keys()
        return model

    monkeypatch.setattr(timm, 'create_model', watched)
    for read in (
        lambda: TimmBackbone(checkpoint=str(path)),
        lambda: export_backbone(path, tmp_path / 'out'),
        lambda: backbone_description(load_checkpoint(path), path),
    ):
        with pytest.raises(ValueError, match=r'a\.pth'):
            read()
    assert TimmBackbone(DESCRIPTION['model_name'], checkpoint=str(path), **DESCRIPTION['timm_arguments'])


def test_every_argument_in_this_projects_recipes_may_stand_in_a_description(repository):
    from mmengine.config import Config

    import dino_plugin.engine.vocabulary  # noqa: F401

    own = {'type', 'model_name', 'features', 'last_blocks'}
    own |= {name for kind in (TimmBackbone, TimmFeatureMaps, TimmJoinedMaps) for name in kind.__init__.__annotations__}
    found = 0
    for file in sorted((repository / 'configs').glob('*/*.py')):
        backbone = Config.fromfile(file).get('model', {}).get('backbone', {})
        for key, value in backbone.items():
            if key not in own:
                assert descriptions._problem(key, value) is None, (file, key, value)
                found += 1
    assert found > 100


def test_a_description_beside_a_file_is_checked_as_well(tmp_path):
    save_file(network_state(), tmp_path / 'a.safetensors')
    (tmp_path / 'a.json').write_text(json.dumps(DESCRIPTION | {'timm_arguments': {'checkpoint_path': '/etc/passwd'}}))
    with pytest.raises(ValueError, match=r"checkpoint_path='/etc/passwd': no argument that shapes a network"):
        TimmBackbone(checkpoint=str(tmp_path / 'a.safetensors'))
    (tmp_path / 'a.json').write_text('[' * 100_000)
    with pytest.raises(ValueError, match=r'a\.json is not JSON'):
        TimmBackbone(checkpoint=str(tmp_path / 'a.safetensors'))
    (tmp_path / 'a.json').write_text(' ' * 2_000_000)
    with pytest.raises(ValueError, match=r'a\.json has 2,000,000 bytes'):
        TimmBackbone(checkpoint=str(tmp_path / 'a.safetensors'))


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_an_export_that_changed_since_is_refused_by_the_hash_in_its_description(tmp_path, suffix):
    path = export_backbone(training(tmp_path / 'a.pth'), tmp_path / f'out{suffix}')
    assert TimmBackbone(checkpoint=str(path))
    other = {key: value + 1 for key, value in load_checkpoint(path).items()}
    save_file(other, path) if suffix == '.safetensors' else torch.save(other, path)
    with pytest.raises(ValueError, match=r'is not the file that .*out-\w{8}\.json describes: its SHA-256 differs'):
        TimmBackbone(checkpoint=str(path))


def test_a_loader_that_is_registered_later_cannot_run_code_either(tmp_path):
    """mmengine's loaders, and those of others, unpickle freely; here a buffer as from an object store."""
    path, victim = tmp_path / 'evil.pth', tmp_path / 'victim'
    torch.save({'state_dict': {'w': Attack(victim)}}, path)
    before = dict(CheckpointLoader._schemes)
    free = torch.load

    @CheckpointLoader.register_scheme(prefixes='bucket://')
    def load_from_bucket(filename, map_location=None):
        return torch.load(io.BytesIO(path.read_bytes()), map_location, weights_only=False)

    try:
        for read in (
            CheckpointLoader.load_checkpoint,
            load_checkpoint,
            lambda url: TimmBackbone('resnet10t', checkpoint=url),
        ):
            with pytest.raises(ValueError, match=r'bucket://weights\.pth is refused: it imports \w+\.system'):
                read('bucket://weights.pth')
        training(path)
        assert TimmBackbone(checkpoint='bucket://weights.pth').description == DESCRIPTION
    finally:
        CheckpointLoader._schemes = before
    assert not victim.exists() and torch.load is free


def test_what_other_packages_allow_to_be_unpickled_is_not_allowed_here(tmp_path):
    import os

    path, victim = tmp_path / 'evil.pth', tmp_path / 'victim'
    torch.save({'state_dict': {'w': Attack(victim)}}, path)
    with torch.serialization.safe_globals([os.system, getattr]):
        with pytest.raises(ValueError, match='is refused: it imports'):
            load_checkpoint(path)
        assert {os.system, getattr} <= set(torch.serialization.get_safe_globals())
    assert not victim.exists()


def test_a_network_of_another_size_than_its_file_needs_the_config_to_name_it(tmp_path):
    """A file with a damaged description still serves whoever knows its network."""
    path = training(tmp_path / 'a.pth', meta={'backbone': {'model_name': 'gone_from_timm'}})
    with pytest.raises(ValueError, match=r"'gone_from_timm', which timm does not have; name the network in the config"):
        TimmBackbone(checkpoint=path)
    model = TimmBackbone(DESCRIPTION['model_name'], checkpoint=path, **DESCRIPTION['timm_arguments']).model
    assert all(torch.equal(value, network_state()[key]) for key, value in model.state_dict().items())
