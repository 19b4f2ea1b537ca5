"""What Python programs call is what the command line does."""

import json
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from bundled import CIFAR
from mmengine.config import Config
from safetensors.torch import load_file

import dino_plugin
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands.own_input import use_own_input
from dino_plugin.data.images.decoding import read_image
from dino_plugin.export.backbone import export_backbone
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.weights.safe_loading import load_checkpoint

TINY = {
    'model.backbone.embed_dim': 32,
    'model.backbone.depth': 1,
    'model.backbone.num_heads': 2,
    'model.backbone.img_size': 32,
    'model.backbone.patch_size': 8,
    'train_dataloader.dataset.dataset.pipeline.1.global_size': 32,
    'train_dataloader.dataset.dataset.pipeline.1.local_size': 16,
    'train_dataloader.dataset.dataset.indices': 32,
    'model.heads.cls.prototypes': 16,
    'model.heads.cls.hidden_dim': 16,
}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('api')
    return dino_plugin.pretrain(
        CIFAR, epochs=1, batch_size=16, num_workers=0, work_dir=folder / 'python', cfg_options=TINY
    )


def test_a_training_from_python_is_that_of_the_command_line(tmp_path):
    script = f"""
import dino_plugin
dino_plugin.pretrain({str(CIFAR)!r}, epochs=1, batch_size=16, num_workers=0, work_dir='python', cfg_options={TINY})
"""
    options = [f'{name}={value}' for name, value in TINY.items()]
    command = ['-m', 'dino_plugin', 'train', 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py']
    command += ['--images', str(CIFAR), '--epochs', '1', '--batch-size', '16', '--num-workers', '0']
    command += ['--work-dir', 'typed', '--cfg-options', *options]
    # both alone: the tests' type checker draws from Python's random numbers
    for words in (['-c', script], command):
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=tmp_path)
    files = tmp_path / 'python/epoch_1.pth', tmp_path / 'typed/epoch_1.pth'
    ours, typed = (load_checkpoint(str(file))['state_dict'] for file in files)
    torch.testing.assert_close(ours, typed, rtol=0, atol=0)


def test_a_run_knows_its_folder_its_checkpoint_and_what_was_logged(run):
    assert run.checkpoint == run.work_dir / 'epoch_1.pth'
    assert list(run.scalars['loss']) == [2]  # the two steps of 32 images
    network = run.load_backbone()
    assert isinstance(network, timm.models.VisionTransformer)
    assert not network.training


def test_the_network_of_a_file_is_the_teacher_and_gives_its_class_token(run):
    network = dino_plugin.load_backbone(run.checkpoint)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = TimmBackbone(checkpoint=str(run.checkpoint)).eval()(images[None]).class_token[0]
        assert torch.equal(network(images), expected)


def test_features_are_those_of_the_program(run, tmp_path):
    images = CIFAR
    found = dino_plugin.extract_features(run.checkpoint, images, resize=32, crop=32, num_workers=0, batch_size=250)
    command = [sys.executable, '-m', 'dino_plugin', 'features', str(run.checkpoint), '--images', str(images)]
    command += ['--resize', '32', '--crop', '32', '--batch-size', '250', '--out', str(tmp_path / 'typed.safetensors')]
    subprocess.run([*command, '--num-workers', '0'], check=True, capture_output=True, cwd=tmp_path)
    torch.testing.assert_close(found.features, load_file(tmp_path / 'typed.safetensors')['features'])
    assert found.names == (tmp_path / 'typed.txt').read_text().splitlines()
    kept = dino_plugin.extract_features(
        run.checkpoint, images, tmp_path / 'kept.npy', resize=32, crop=32, num_workers=0, batch_size=250
    )
    assert torch.equal(kept.features, found.features)
    assert (tmp_path / 'kept.npy').is_file()


def test_a_network_sees_its_images_as_in_training(tmp_path):
    """A training with another mean and deviation: features, k-NN tests and exports took ImageNet's."""
    levels = {'model.data_preprocessor': dict(type='dino_plugin.ViewPreprocessor', mean=[10, 20, 30], std=[100] * 3)}
    run = dino_plugin.pretrain(
        CIFAR, epochs=1, batch_size=16, num_workers=0, work_dir=tmp_path / 'run',
        cfg_options=TINY | levels | {'default_hooks.checkpoint.out_dir': str(tmp_path / 'elsewhere')},
    )  # fmt: skip
    assert run.checkpoint == tmp_path / 'elsewhere/run/epoch_1.pth'  # it was looked for in work_dir, and an error came
    (tmp_path / 'few').mkdir()
    photographs = [shutil.copy(path, tmp_path / 'few') for path in sorted(CIFAR.rglob('*.jpg'))[:3]]
    found = dino_plugin.extract_features(run.checkpoint, tmp_path / 'few', resize=32, crop=32, num_workers=0)
    pixels = torch.stack([torch.from_numpy(read_image(str(path))) for path in sorted(photographs)]).float()
    with torch.no_grad():
        images = (pixels - torch.tensor([10, 20, 30])) / 100
        torch.testing.assert_close(found.features, run.load_backbone()(images.permute(0, 3, 1, 2)))

    exported = export_backbone(run.checkpoint, tmp_path / 'out')
    card = json.loads(exported.with_suffix('.json').read_text())
    assert card['pretrained_cfg']['mean'] == card['mean'] == [round(level / 255, 6) for level in (10, 20, 30)]
    again = export_backbone(exported, tmp_path / 'again', std=[50] * 3)  # an option wins
    other = json.loads(again.with_suffix('.json').read_text())
    assert other['mean'] == card['mean'] and other['std'] == [round(50 / 255, 6)] * 3
    for file in (run.checkpoint, exported):
        cfg = Config.fromfile(config_path('knn/knn_folder.py'))
        use_own_input(cfg, str(file), None)
        assert (cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std) == ([10, 20, 30], [100] * 3)


def test_what_a_program_would_say_and_end_with_is_an_error_with_the_cure(run, tmp_path):
    with pytest.raises(ValueError, match='no/config') as error:
        dino_plugin.pretrain(CIFAR, 'no/config.py')
    assert 'usage' not in str(error.value).splitlines()[-1]
    with pytest.raises(ValueError, match='must end in'):
        dino_plugin.extract_features(run.checkpoint, CIFAR, 'features.csv')
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        dino_plugin.pretrian  # noqa: B018


def test_the_import_stays_quick():
    script = "import sys, dino_plugin; print('torch' in sys.modules, 'mmengine' in sys.modules)"
    done = subprocess.run([sys.executable, '-c', script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ['False', 'False']
