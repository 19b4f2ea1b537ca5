"""Recipes side by side: what is chosen and by what, what a second call leaves alone, when test images are looked at."""

import shutil
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config

from dino_plugin.commands import recipe_study
from dino_plugin.commands.recipe_study import Run, chosen, config_of, runs_of, table, train
from dino_plugin.commands.recipe_study import test as look_at_test_images

QUICKSTART = 'quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'


def finished(folder, recipe, seed, score, **more):
    run = Run(recipe, seed, folder / f'{recipe.replace("/", "_")}{seed}')
    run.add(curve={'0': 1.0, '78': score}, seconds=120.0, finished=True, **more)
    return run


def test_the_best_mean_over_seeds_of_each_group_is_chosen(tmp_path):
    runs = [
        finished(tmp_path, 'a/one', 0, 50.0),
        finished(tmp_path, 'a/one', 1, 40.0),  # mean 45, deviation 7.1
        finished(tmp_path, 'a/two', 0, 46.0),
        finished(tmp_path, 'a/two', 1, 46.0),
        finished(tmp_path, 'b', 0, 10.0),
        finished(tmp_path, 'b', 1, 12.0),
    ]
    assert chosen(runs) == {'a': 'a/two', 'b': 'b'}
    assert '| a/one | 2 of 2 | 45.0 ± 7.1 | not looked at | 2 |' in table(runs)
    assert '| **a/two** | 2 of 2 | 46.0 ± 0.0 | not looked at | 2 |' in table(runs)


def test_a_recipe_whose_seeds_are_not_all_finished_is_not_chosen(tmp_path):
    half = [finished(tmp_path, 'a/high', 0, 90.0), Run('a/high', 1, tmp_path / 'nothing')]
    whole = [finished(tmp_path, 'a/low', seed, 20.0) for seed in (0, 1)]
    assert chosen(half + whole) == {'a': 'a/low'}
    assert '| a/high | 1 of 2 | 90.0 |' in table(half + whole)


def test_knn_looks_at_training_images_alone(tmp_path):
    study = Config(
        dict(recipes={'dino/slow': dict(config=QUICKSTART, options={'model.momentum.start': 0.5})}, seeds=(3,))
    )
    (run,) = runs_of(study, tmp_path)
    cfg = config_of(study, run)
    (hook,) = [hook for hook in cfg.custom_hooks if hook.type == 'dino_plugin.KNNHook']
    assert hook.queries is None
    assert hook.bank.dataset.data_root == cfg.train_dataloader.dataset.dataset.data_root
    assert cfg.model.momentum.start == 0.5 and cfg.randomness.seed == 3


def test_a_recipe_without_knn_is_refused(tmp_path, capsys):
    study = Config(dict(recipes=dict(a=dict(config='dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'))))
    with pytest.raises(SystemExit):
        config_of(study, runs_of(study, tmp_path)[0])
    assert 'a study needs one, to choose by' in capsys.readouterr().err


def test_the_shipped_study_names_recipes_that_exist(repository, tmp_path):
    study = Config.fromfile(repository / 'configs/studies/small-data_imagenette128.py')
    runs = runs_of(study, tmp_path)
    assert len(runs) == len(study.seeds) * len(study.recipes) and len(study.seeds) >= 3
    data = {config_of(study, run).train_dataloader.dataset.dataset.data_root for run in runs}
    assert data == {study.test.options['test_cfg.bank_dataloader.dataset.data_root']}  # the same images for all


def test_a_changed_recipe_is_refused_and_a_moved_study_is_tested_with_its_own_files(tmp_path, monkeypatch, capsys):
    """The old figure stood under the changed recipe, and the test of a copied folder took the first one's file."""
    commands = []

    def pretend(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, int('test' in command))  # trainings succeed

    def study(rate):
        recipe = dict(config=QUICKSTART, options={'optim_wrapper.optimizer.lr': rate})
        return Config(dict(recipes=dict(a=recipe), test=dict(config='knn/knn_folder.py')))

    monkeypatch.setattr(subprocess, 'run', pretend)
    monkeypatch.setattr(recipe_study, 'read_scalars', lambda _: {recipe_study.METRIC: {78: 41.0}})
    run = runs_of(study(0.001), tmp_path / 'old')[0]
    train(study(0.001), run)
    whole = dict(meta={}, state_dict={}, message_hub={})
    torch.save(whole, run.folder / 'epoch_1.pth')
    (run.folder / 'last_checkpoint').write_text(str(run.folder / 'epoch_1.pth'))
    shutil.copytree(tmp_path / 'old', tmp_path / 'copy')
    copied = runs_of(study(0.001), tmp_path / 'copy')[0]
    train(study(0.001), copied)  # finished, in any folder
    assert len(commands) == 1
    for folder in (run, copied):
        with pytest.raises(SystemExit):
            train(study(0.1), folder)
        assert 'another recipe was trained' in (told := capsys.readouterr().err)
        assert 'optim_wrapper.optimizer.lr was 0.001, and is 0.1' in told
    with pytest.raises(SystemExit):
        look_at_test_images(study(0.001), copied)
    assert str(copied.folder / 'epoch_1.pth') in commands[-1]


@pytest.fixture(scope='module')
def study(tmp_path_factory, repository):
    """Two recipes on 128 bundled images, an epoch of two steps, one of them untrained (learning rate 0)."""
    images = repository / 'tests/data/cifar10_mini'
    few = list(range(0, 5000, 39))[:128]
    folder = tmp_path_factory.mktemp('study')
    (folder / 'small.py').write_text(
        f"""
seeds = (0,)
options = {{
    'train_cfg.max_epochs': 1,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.dataset.dataset.data_root': '{images}/train',
    'train_dataloader.dataset.dataset.indices': {few},
    'custom_hooks.3.bank.dataset.data_root': '{images}/train',
    'custom_hooks.3.bank.dataset.indices': {few},
    'default_hooks.pictures.number': 0,
}}
recipes = {{
    'dino/learns': dict(config='{QUICKSTART}'),
    'dino/stands': dict(config='{QUICKSTART}', options={{'optim_wrapper.optimizer.lr': 0.0}}),
}}
test = dict(
    config='knn/knn_folder.py',
    options={{
        'model.features': 'class+mean',
        'test_dataloader.dataset.data_root': '{images}/test',
        'test_cfg.bank_dataloader.dataset.data_root': '{images}/train',
        'test_dataloader.dataset.indices': {list(range(0, 1000, 10))},
        'test_cfg.bank_dataloader.dataset.indices': {few},
        'test_dataloader.dataset.pipeline.1.resize': 32,
        'test_dataloader.dataset.pipeline.1.crop': 32,
        'test_cfg.bank_dataloader.dataset.pipeline.1.resize': 32,
        'test_cfg.bank_dataloader.dataset.pipeline.1.crop': 32,
    }},
)
"""
    )
    return folder


def test_a_study_trains_each_recipe_once_and_looks_at_test_images_once(study, monkeypatch):
    command = [sys.executable, '-m', 'dino_plugin', 'compare', 'small.py', '--test']
    done = subprocess.run(command, cwd=study, capture_output=True, text=True, check=True)
    lines = done.stdout.rstrip().splitlines()
    assert [line.count('**') for line in lines[-2:]] in ([2, 0], [0, 2])  # one of the two is chosen
    assert ['not looked at' in line for line in lines[-2:]] == ['**' not in line for line in lines[-2:]]
    cfg = Config.fromfile(study / 'small.py')
    runs = runs_of(cfg, study / 'work_dirs/small')
    learnt, stood = [list(run.record['curve'].values()) for run in runs]
    assert learnt[0] == stood[0] == stood[-1]  # a learning rate of 0 changes no network

    monkeypatch.setattr(subprocess, 'run', lambda *_: pytest.fail('a finished recipe was run again'))
    records = [run.record for run in runs]
    for run in runs:
        train(cfg, run)
        if 'test' in run.record:
            look_at_test_images(cfg, run)
    assert [run.record for run in runs] == records
    assert table(runs) == '\n'.join(lines[-4:])
