"""The recipe `auto`: numbers from facts, a config that has them, a table that says why, and a training by it."""

import math
import os
import re
import runpy
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from bundled import CIFAR
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from dino_plugin.commands import auto, machine
from dino_plugin.commands.auto import config_text, write_recipe
from dino_plugin.commands.auto_machine import choices_of_machine
from dino_plugin.commands.auto_recipe import NOT_MEASURED, Choice, choices_of_method
from dino_plugin.commands.auto_rules import BASES, Recipe, recipe_for
from dino_plugin.commands.machine import Facts, look
from dino_plugin.commands.smoke import smoke
from dino_plugin.engine.training.auto_scale_lr import as_linear_rule
from dino_plugin.engine.training.build import build
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.registry import TASK_UTILS

CPU = dict(gpus=0, cores=2)
ONE = dict(gpus=1, gpu_memory=24.0, cores=16)
EIGHT = dict(gpus=8, gpu_memory=80.0, cores=96)
CASES = {
    'cpu, 100': Facts(100, 200, 2, **CPU),
    'cpu, 5,000 tiny': Facts(5_000, 32, 10, **CPU),
    'cpu, 5,000 loose': Facts(5_000, 300, 0, **CPU),
    'cpu, 1,000,000': Facts(1_000_000, 400, 1_000, **CPU),
    'cpu, 1,000 in 500 folders': Facts(1_000, 50, 500, **CPU),
    'one, 100': Facts(100, 200, 2, **ONE),
    'one, 5,000 tiny': Facts(5_000, 32, 10, **ONE),
    'one, 5,000 small': Facts(5_000, 100, 10, **ONE),
    'one, 5,000': Facts(5_000, 300, 0, **ONE),
    'one, 150,000': Facts(150_000, 300, 100, **ONE),
    'one, 1,000,000': Facts(1_000_000, 400, 1_000, **ONE),
    'one of 8 GB, 5,000': Facts(5_000, 300, 10, gpus=1, gpu_memory=8.0, cores=4),
    'eight, 200': Facts(200, 200, 0, **EIGHT),
    'eight, 5,000 tiny': Facts(5_000, 64, 10, **EIGHT),
    'eight, 5,000': Facts(5_000, 300, 10, **EIGHT),
    'eight, 1,000,000': Facts(1_000_000, 400, 1_000, **EIGHT),
}


def chosen(facts: Facts, folders: tuple[str, ...] = ('/images',)) -> dict[str, Choice]:
    recipe = recipe_for(facts)
    found = [*choices_of_method(facts, recipe), *choices_of_machine(facts, recipe, folders)]
    assert len({choice.name for choice in found}) == len(found)
    return {choice.name: choice for choice in found}


def written(facts: Facts, tmp_path, folders: tuple[str, ...] = ('/images',)) -> Config:
    file = tmp_path / 'recipe.py'
    file.write_text(config_text(list(chosen(facts, folders).values()), 'runs/here', folders))
    return Config.fromfile(file)


def value(part, progress: float, num_images: int):
    """What a number or schedule of a config is at this share of the training."""
    if isinstance(part, dict):
        part = build(TASK_UTILS, part, num_images=num_images)
    return part(progress) if callable(part) else part


@pytest.mark.parametrize(
    ('case', 'expected'),
    [
        # kind, views, batch on each GPU, batches before a step, epochs, prototypes, learning rate
        ('cpu, 100', ('tiny', 48, 24, 16, 1, 200, 512, 3e-4)),
        ('cpu, 5,000 tiny', ('tiny', 32, 16, 64, 1, 25, 512, 1.2e-3)),
        ('cpu, 5,000 loose', ('tiny', 48, 24, 64, 1, 22, 512, 1.2e-3)),
        ('cpu, 1,000,000', ('tiny', 48, 24, 64, 1, 1, 16_384, 1.2e-3)),
        ('one, 100', ('few', 192, 80, 16, 1, 200, 512, 1.25e-4)),
        ('one, 5,000 tiny', ('tiny', 32, 16, 64, 1, 25, 512, 1.2e-3)),
        ('one, 5,000 small', ('few', 96, 48, 64, 1, 200, 512, 5e-4)),
        ('one, 5,000', ('few', 224, 96, 64, 1, 200, 512, 5e-4)),
        ('one, 150,000', ('few', 224, 96, 64, 1, 200, 16_384, 5e-4)),
        ('one, 1,000,000', ('many', 224, 96, 64, 8, 100, 65_536, 1e-3)),
        ('one of 8 GB, 5,000', ('few', 224, 96, 16, 4, 200, 512, 5e-4)),
        ('eight, 200', ('few', 192, 80, 4, 1, 200, 512, 2.5e-4)),
        ('eight, 5,000 tiny', ('tiny', 48, 24, 16, 1, 49, 512, 2.4e-3)),
        ('eight, 5,000', ('few', 224, 96, 16, 1, 200, 512, 1e-3)),
        ('eight, 1,000,000', ('many', 224, 96, 128, 1, 100, 65_536, 2e-3)),
    ],
)
def test_the_numbers_follow_from_the_facts(case, expected):
    kind, side, local, batch, accumulated, epochs, prototypes, rate = expected
    recipe = recipe_for(CASES[case])
    assert (recipe.kind, recipe.side, recipe.local_side) == (kind, side, local)
    assert (recipe.batch, recipe.accumulated, recipe.epochs) == (batch, accumulated, epochs)
    assert (recipe.prototypes, recipe.rate) == (prototypes, pytest.approx(rate))
    assert recipe.total == batch * accumulated * max(1, CASES[case].gpus)


@pytest.mark.parametrize('case', CASES)
def test_the_config_has_the_values_of_the_table(case, tmp_path):
    facts = CASES[case]
    recipe, table = recipe_for(facts), chosen(facts)
    cfg, shipped = written(facts, tmp_path), Config.fromfile(config_path(BASES[recipe.kind]))
    loader, num_images = cfg.train_dataloader, cfg.model.get('num_images')
    images = loader.dataset.dataset.dataset if recipe.held_out else loader.dataset.dataset
    multi_crop = images.pipeline[1]
    assert (multi_crop.global_size, multi_crop.local_size) == (recipe.side, recipe.local_side)
    assert table['views'].value == f'{multi_crop.global_size} px, local ones {multi_crop.local_size} px'
    assert cfg.model.backbone.img_size == recipe.side
    assert table['batch on each GPU' if facts.gpus else 'batch'].value == str(loader.batch_size)
    assert table['batches before a step'].value == str(cfg.optim_wrapper.accumulative_counts)
    # mmengine scales by the images of one forward pass, see `as_linear_rule`
    scaling = as_linear_rule(cfg.auto_scale_lr, loader.batch_size)
    factor = loader.batch_size * max(1, facts.gpus) / scaling['base_batch_size']
    assert cfg.optim_wrapper.optimizer.lr * factor == pytest.approx(recipe.rate, rel=0.02)
    assert table['learning rate'].value == f'{recipe.rate:.3g}'
    assert value(cfg.model.heads.cls.prototypes, 0, num_images) == recipe.prototypes
    assert table['prototypes'].value == f'{recipe.prototypes:,}'
    temperature = cfg.model.losses.dino.teacher_temperature
    found = [value(temperature, progress, num_images) for progress in (0.0, 0.5)]
    assert found == pytest.approx(list(recipe.temperature))
    assert table['teacher temperature'].value.split(' to ') == [f'{each:.3g}' for each in dict.fromkeys(found)]
    assert value(cfg.model.momentum, 0.0, num_images) == pytest.approx(recipe.momentum)
    assert table['teacher momentum'].value == f'{recipe.momentum:.3g} to 1'
    assert table['epochs'].value == f'{cfg.train_cfg.max_epochs:,}'
    assert (table['workers'].value, images.data_root) == (str(loader.num_workers), '/images')
    assert table['precision'].value == cfg.optim_wrapper.precision
    assert table['split of the views'].value == multi_crop.get('split', 'worker')
    assert cfg.work_dir == 'runs/here'
    assert cfg.model.backbone.model_name == shipped.model.backbone.model_name
    hooks = [hook for hook in cfg.custom_hooks if hook.type == 'dino_plugin.KNNHook']
    assert len(hooks) == recipe.held_out
    assert {hook.type for hook in cfg.custom_hooks} >= {
        hook.type for hook in shipped.custom_hooks if hook.type != 'dino_plugin.KNNHook'
    }
    for hook in hooks:
        assert table['k-NN'].value == f'every {hook.interval} epochs'
        assert [hook[part].dataset.held_out for part in ('bank', 'queries')] == [False, True]
        assert hook.queries.dataset.dataset.pipeline[1].crop == recipe.side
        assert {*hook.bank.dataset, *hook.queries.dataset} == {'type', 'held_out', 'share', 'seed', 'dataset'}
    assert not recipe.held_out or not loader.dataset.dataset.held_out
    assert (table['k-NN'].value == 'none') == (not hooks)


def test_with_imagenet_and_eight_gpus_it_is_the_shipped_recipe(tmp_path):
    cfg, shipped = written(CASES['eight, 1,000,000'], tmp_path), Config.fromfile(config_path(BASES['many']))
    shipped.model.backbone.img_size, shipped.work_dir = 224, 'runs/here'
    shipped.optim_wrapper.accumulative_counts = 1
    shipped.train_dataloader.dataset.dataset.data_root = '/images'
    assert cfg.to_dict() == shipped.to_dict()


def test_folders_are_classes_only_if_they_hold_ten_images_each_and_k_nn_ends_at_200_000():
    assert recipe_for(Facts(1_000, 32, 100, **CPU)).held_out
    assert 'fewer than 10 images' in chosen(CASES['cpu, 1,000 in 500 folders'])['k-NN'].reason
    assert 'not in class folders' in chosen(CASES['one, 5,000'])['k-NN'].reason
    assert 'takes too long' in chosen(CASES['one, 1,000,000'])['k-NN'].reason
    assert [recipe_for(Facts(number, 300, 10, **ONE)).held_out for number in (199_999, 200_000)] == [True, False]


def test_the_borders_of_the_kinds():
    def kinds(**changes) -> str:
        return recipe_for(replace(Facts(200_000, 96, 0, **ONE), **changes)).kind

    assert (kinds(), kinds(images=199_999), kinds(side=95), kinds(gpus=0)) == ('many', 'few', 'tiny', 'tiny')
    assert [recipe_for(Facts(5_000, side, **CPU)).side for side in (47, 48)] == [32, 48]


def test_less_memory_means_smaller_batches_and_the_same_step():
    recipes = [recipe_for(Facts(1_000_000, 400, gpus=2, gpu_memory=memory)) for memory in (80.0, 24.0, 11.0, 2.0)]
    assert [recipe.batch for recipe in recipes] == [128, 64, 32, 4]
    assert {recipe.total for recipe in recipes} == {512}
    assert recipe_for(Facts(1_000_000, 112, gpus=1, gpu_memory=24.0)).batch == 128, 'smaller views'


def test_cores_are_shared_by_gpus():
    assert [recipe_for(Facts(5_000, 300, gpus=gpus, gpu_memory=24.0, cores=12)).workers for gpus in (1, 4, 8)] == [
        8,
        3,
        1,
    ]
    assert recipe_for(Facts(5_000, 300, gpus=0, cores=64)).workers == 1


def test_the_time_is_told_where_a_speed_is_known():
    recipe = recipe_for(CASES['cpu, 5,000 loose'])
    assert recipe.hours == pytest.approx(22 * 5_000 / 64 / 3600)
    assert chosen(CASES['cpu, 5,000 loose'])['time'].value == '29 minutes'
    assert chosen(CASES['cpu, 1,000,000'])['time'].value == '4 hours'
    assert 'fewer images' in chosen(Facts(3_000_000, 300, **CPU))['time'].reason
    assert chosen(CASES['one, 1,000,000'])['time'].value == '11 days'
    assert recipe_for(CASES['one, 5,000 small']).hours is None
    assert chosen(CASES['one, 5,000 small'])['time'].value == 'unknown'
    imagenet = recipe_for(Facts(1_281_167, 400, **EIGHT))
    assert imagenet.hours / 24 == pytest.approx(1.75), 'what the README of facebookresearch/dino says'


@pytest.mark.parametrize('case', CASES)
def test_what_was_never_measured_is_said(case):
    facts, unknown = CASES[case], {c.name for c in chosen(CASES[case]).values() if NOT_MEASURED in c.reason}
    if case == 'cpu, 5,000 tiny':
        assert not unknown
    elif not facts.gpus and facts.images in (100, 1_000_000):
        assert {'preset', 'epochs'} <= unknown
    if facts.gpus:
        assert 'precision' in unknown
    assert all(choice.reason and '{' not in choice.reason for choice in chosen(facts).values())


def test_too_few_images_are_refused_in_words():
    with pytest.raises(ValueError, match=r'9 images are too few.*give 10 at the very least'):
        recipe_for(Facts(9, 32, **CPU))
    assert recipe_for(Facts(10, 32, **CPU)).batch == 2
    with pytest.raises(ValueError, match='50 images are too few for 8 GPUs: train on one'):
        recipe_for(Facts(50, 32, **EIGHT))


def test_several_folders_stay_several(tmp_path):
    cfg = written(CASES['cpu, 5,000 loose'], tmp_path, ('/one', '/two'))
    assert cfg.train_dataloader.dataset.dataset.data_root == ['/one', '/two']


def arguments(images, work_dir, resume=None) -> Namespace:
    return Namespace(
        images=images and [str(folder) for folder in images], work_dir=str(work_dir), launcher='none', resume=resume
    )


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(machine, '_gpus', lambda launcher: (0, 0.0))


def test_two_steps_by_the_written_config_with_images_kept_aside(tmp_path, no_gpu, capsys):
    file = write_recipe(arguments([CIFAR], tmp_path / 'work'))
    printed = ' '.join(capsys.readouterr().out.replace('│', ' ').split())
    assert 'A recipe for 1,000 images in 10 folders, about 32 px, on a CPU with' in printed
    cfg = Config.fromfile(file)
    hook = next(hook for hook in cfg.custom_hooks if hook.type == 'dino_plugin.KNNHook')
    parts = [DATASETS.build(part.dataset) for part in (hook.bank, hook.queries)]
    trained_on = DATASETS.build(cfg.train_dataloader.dataset.dataset)
    names = [{part.get_data_info(index)['img_path'] for index in range(len(part))} for part in (trained_on, *parts)]
    assert names[0] == names[1]
    assert (len(names[0]), len(names[2]), len(names[0] | names[2])) == (900, 100, 1000)
    line = smoke(cfg, Namespace(config='auto', batch_size=20, epochs=1, num_workers=0))
    assert 'batches of 20, 1 epoch,' in line
    cfg.experiment_name = tmp_path.name
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == math.floor(0.9 * 64 / 20)
    assert 0 <= runner.message_hub.get_scalar('knn/top1_k20').current() <= 100


def test_gpus_that_would_stand_idle_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, '_gpus', lambda launcher: (1 if launcher == 'none' else 4, 24.0))
    monkeypatch.setattr(auto.torch.cuda, 'device_count', lambda: 4)
    write_recipe(arguments([CIFAR], tmp_path / 'one'))
    assert 'warning: 1 of 4 GPUs train. For all: bash tools/dist_train.sh auto 4' in capsys.readouterr().err
    all_of_them = arguments([CIFAR], tmp_path / 'all')
    all_of_them.launcher = 'pytorch'
    write_recipe(all_of_them)
    told = capsys.readouterr()
    assert 'GPUs train' not in told.err
    assert 'on 4 GPUs of 24 GB with' in told.out


@pytest.mark.parametrize('strange', ['images', 'work_dir'])
def test_a_folder_whose_name_is_no_text_is_refused_in_a_sentence(strange, tmp_path, no_gpu, capsys):
    folder = tmp_path / os.fsdecode(b'caf\xe9')  # Latin-1
    folder.mkdir()
    images, work_dir = (folder / 'cat', tmp_path / 'work') if strange == 'images' else (CIFAR, folder)
    if strange == 'images':
        shutil.copytree(CIFAR, images)
    with pytest.raises(SystemExit):
        write_recipe(arguments([images], work_dir))
    assert 'caf\\udce9' in (told := capsys.readouterr().err) and 'Recipes hold UTF-8 alone' in told and 'ln -s' in told
    assert not (work_dir / 'recipe.py').exists()


def test_an_edited_recipe_is_never_overwritten_and_goes_on(tmp_path, no_gpu, capsys):
    file = write_recipe(arguments([CIFAR], tmp_path))
    assert write_recipe(arguments([CIFAR], tmp_path)) == file, 'the same once more'
    edited = Path(file).read_text().replace('batch_size = 64', 'batch_size = 32')
    (tmp_path / 'recipe.py').write_text(edited)
    with pytest.raises(SystemExit):
        write_recipe(arguments([CIFAR], tmp_path))
    assert 'holds another recipe' in capsys.readouterr().err
    assert write_recipe(arguments([CIFAR], tmp_path, resume='auto')) == file
    assert (tmp_path / 'recipe.py').read_text() == edited


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (None, 'auto --images DIR'),
        (['nowhere'], 'nowhere is not a folder'),
        (['list.txt'], 'list.txt is a list, and auto looks at folders only'),
        (['empty'], 'no image'),
        (['nine'], '9 images are too few'),
    ],
)
def test_a_folder_without_enough_images_ends_the_program_with_one_message(images, message, tmp_path, no_gpu, capsys):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'nine').mkdir()
    (tmp_path / 'list.txt').write_text(str(CIFAR))
    for number, path in enumerate(sorted(CIFAR.rglob('*.jpg'))[:9]):
        (tmp_path / f'nine/{number}.jpg').write_bytes(path.read_bytes())
    with pytest.raises(SystemExit):
        write_recipe(arguments(images and [tmp_path / name for name in images], tmp_path / 'work'))
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()


def test_another_process_writes_a_file_of_its_own_and_prints_nothing(tmp_path, no_gpu, capsys, monkeypatch):
    first = write_recipe(arguments([CIFAR], tmp_path))
    capsys.readouterr()
    monkeypatch.setenv('RANK', '1')
    other = write_recipe(arguments([CIFAR], tmp_path))
    assert other != first
    assert Path(other).read_text() == Path(first).read_text()
    assert capsys.readouterr() == ('', '')


def test_facts_of_the_bundled_images(no_gpu):
    facts = look([str(CIFAR)])
    assert (facts.images, facts.side, facts.classes, facts.gpus) == (1000, 32, 10, 0)
    assert look([str(CIFAR / 'frog')]).classes == 0, 'images in no folders'
    assert look([str(CIFAR / 'frog'), str(CIFAR / 'ship')]).classes == 0, 'several folders have no classes'
    assert auto._told(facts).startswith('A recipe for 1,000 images in 10 folders, about 32 px')
    assert isinstance(recipe_for(facts), Recipe)


@pytest.fixture
def train(repository, monkeypatch, tmp_path, no_gpu):
    """tools/train.py with these words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_tool(*words) -> None:
        monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, words)])
        runpy.run_path(str(repository / 'tools/train.py'), run_name='__main__')

    return run_tool


def test_the_tool_chooses_writes_and_trains_and_the_recipe_runs_again(train, tmp_path, capsys):
    options = ('--smoke', '--batch-size', '32', '--epochs', '1', '--num-workers', '0')
    train('auto', '--images', CIFAR, *options)
    assert (tmp_path / 'work_dirs/auto_smoke/epoch_1.pth').is_file()
    file = tmp_path / 'work_dirs/auto/recipe.py'
    assert Config.fromfile(file).train_cfg.max_epochs == 123
    with pytest.raises(SystemExit) as ended:
        train(file, '--dry-run', '--num-workers', '0')
    assert ended.value.code == 0
    assert 'Dry run' in capsys.readouterr().err


def test_the_word_auto_is_a_config_of_trainings_only(train, repository, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        train('auto')
    assert 'auto --images DIR' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['test.py', 'auto', 'none'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(repository / 'tools/test.py'), run_name='__main__')
    assert "No config 'auto'" in capsys.readouterr().err


def test_the_example_of_the_page_is_what_the_rules_give(repository):
    page = (repository / 'docs/auto_recipe.md').read_text()
    (example,) = re.findall(r'```python\n(.*?)```', page, flags=re.DOTALL)
    facts = Facts(5_000, 32, 10, **CPU)
    recipe = recipe_for(facts)
    found = [*choices_of_method(facts, recipe), *choices_of_machine(facts, recipe, ['/photos'])]
    assert example == config_text(found, 'work_dirs/auto', ['/photos'])
