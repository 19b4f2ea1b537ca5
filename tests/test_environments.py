"""Machines that are short of something: training goes on there, with the very same losses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_process import run_in_fresh_process

CONFIG = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2,
        drop_path_rate=0.0),
    heads=dict(cls=dict(prototypes=64, hidden_dim=32, bottleneck_dim=16)))
train_dataloader = dict(
    batch_size=4, num_workers=2, pin_memory=False, dataset=dict(dataset=dict(data_root={images!r})))
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(precision='fp32')
default_hooks = dict(logger=dict(interval=1))
"""
CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
# A batch of these views is 1.3 MB: 2 MiB hold the workers' locks and less than two batches of each of two workers.
SMALL_VIEWS = 'train_dataloader.dataset.dataset.pipeline.1.num_local=2'


def train_command(checkout: Path, images: Path, folder: Path) -> list[str]:
    """tools/train.py as a user starts it, by a config of one's own."""
    folder.mkdir(exist_ok=True)
    config = folder / 'own.py'
    config.write_text(CONFIG.format(base=str(checkout / 'configs' / CUSTOM), images=str(images)))
    command = [checkout / 'tools/train.py', config, '--work-dir', folder / 'out', '--cfg-options', SMALL_VIEWS]
    return [*map(str, command)]


def losses_of(folder: Path) -> list[float]:
    assert (folder / 'out/epoch_1.pth').is_file()
    (scalars,) = (folder / 'out').glob('*/vis_data/scalars.json')
    return [json.loads(line)['loss'] for line in scalars.read_text().splitlines()]


def train(checkout: Path, images: Path, folder: Path, *, before=(), **env: str) -> list[float]:
    """Its losses; what it prints is left in a file."""
    command = [*before, sys.executable, *train_command(checkout, images, folder)]
    env = {**os.environ, 'PYTHONPATH': str(checkout), 'OMP_NUM_THREADS': '1', **env}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / 'printed').write_text(done.stdout + done.stderr)
    return losses_of(folder)


def mounted(*commands: str) -> list[str]:
    """The start of a command that alone sees these mounts; skips the test where that is not allowed."""
    for unshare in (['unshare', '--mount'], ['unshare', '--mount', '--map-root-user']):
        start = [*unshare, 'bash', '-ec', '; '.join([*commands, 'exec "$@"']), 'bash']
        if shutil.which('unshare') and subprocess.run([*start, 'true'], capture_output=True).returncode == 0:
            return start
    pytest.skip(f'needs Linux and the right to mount for itself: {"; ".join(commands)}')


@pytest.fixture(scope='module')
def losses(repository, twelve_images, tmp_path_factory) -> list[float]:
    """Of a machine that lacks nothing."""
    folder = tmp_path_factory.mktemp('plain')
    command = train_command(repository, twelve_images, folder)
    start = f'import runpy, sys; sys.argv = {command}; runpy.run_path(sys.argv[0], None, "__main__")'
    run_in_fresh_process(start, folder)
    found = losses_of(folder)
    assert len(set(found)) == 3
    return found


def test_with_blanks_in_every_path_and_no_home_for_caches_on_one_core(repository, twelve_images, tmp_path, losses):
    """A file in place of the home refuses even the superuser."""
    checkout, home = tmp_path / 'check out', tmp_path / 'home'
    for name in ('dino_plugin', 'configs', 'tools'):
        shutil.copytree(repository / name, checkout / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    for name in ('setup.cfg', 'model-index.yml'):
        shutil.copy(repository / name, checkout)
    shutil.copytree(twelve_images, tmp_path / 'my images')
    home.write_text('')
    env = {name: '' for name in os.environ if name.startswith('XDG_') or name in ('MPLCONFIGDIR', 'TORCH_HOME')}
    core = ['taskset', '-c', str(min(os.sched_getaffinity(0)))] if shutil.which('taskset') else []
    found = train(checkout, tmp_path / 'my images', tmp_path / 'o u t', before=core, HOME=str(home), **env)
    assert found == losses


def test_with_a_checkout_and_packages_that_cannot_be_written(repository, twelve_images, tmp_path, losses):
    folders = {str(repository), sys.prefix}
    read_only = [f'mount --bind "{path}" "{path}"; mount -o remount,bind,ro "{path}"' for path in folders]
    before = mounted(*read_only, *(f'if touch "{path}/probe"; then exit 98; fi' for path in folders))
    assert train(repository, twelve_images, tmp_path, before=before) == losses


@pytest.mark.parametrize(('size', 'told'), [('64k', 'num_workers=0'), ('2m', 'go through pipes')])
def test_with_little_shared_memory(size, told, repository, twelve_images, tmp_path, losses):
    before = mounted(f'mount -t tmpfs -o size={size} tmpfs /dev/shm')
    assert train(repository, twelve_images, tmp_path, before=before) == losses
    printed = (tmp_path / 'printed').read_text()
    assert told in printed and '--shm-size=8g' in printed
