"""Going on from released weights: what is best is kept, what gets worse ends, the table is right."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bundled import CIFAR
from processes import run_in_processes
from small_training import build_runner, small_config

from dino_plugin.api import load_backbone
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.engine.training.hooks.guard import ORDER, GuardHook
from dino_plugin.engine.training.hooks.online_evaluation import OnlineEvaluationHook
from dino_plugin.engine.training.measured_images import hash_of_card
from dino_plugin.evaluation.scorecard.data import Card
from dino_plugin.evaluation.scorecard.image_scores import mean_over_images
from dino_plugin.weights.safe_loading import load_checkpoint

STATE = 'distillation.teacher.backbone.model.norm.weight'


def guarded(work_dir, monkeypatch, scores, **options):
    """A small training of 12 steps whose k-NN is planted: for each look, at steps 0, 2, 4, ..., a number or None."""
    left = [{'RankMe': 5.0} if score is None else {'k-NN': score, 'RankMe': 5.0} for score in scores]
    monkeypatch.setattr(OnlineEvaluationHook, 'prepare', lambda hook, runner: None)
    monkeypatch.setattr(OnlineEvaluationHook, 'evaluate', lambda hook, runner, backbone: left.pop(0))
    config = small_config(work_dir, train_cfg__max_epochs=2)
    hook = dict(type='dino_plugin.GuardHook', interval=2, by_epoch=False, **options)
    config.custom_hooks.append(hook)
    runner = build_runner(config)
    return runner, next(hook for hook in runner.hooks if isinstance(hook, GuardHook))


def weights_of(path):
    return load_checkpoint(path)['state_dict'][STATE]


def test_a_measure_that_falls_ends_the_training_and_the_start_is_kept(tmp_path, monkeypatch):
    runner, hook = guarded(tmp_path, monkeypatch, [60.0, 59.0, 50.0, 49.0, 48.0], tolerance=5, patience=2)
    start = runner.model.distillation.teacher.backbone.model.norm.weight.clone()
    runner.train()
    assert runner.iter == 6  # looks after 0, 2, 4 and 6: the last two are more than 5 below 60
    assert torch.equal(weights_of(tmp_path / 'best.pth'), start)
    assert torch.equal(load_backbone(str(tmp_path / 'best.pth')).norm.weight, start)  # as every program reads it
    assert not torch.equal(runner.model.distillation.teacher.backbone.model.norm.weight, start)
    assert hook.found.verdict().startswith('It did harm: k-NN went from 60.0 to 60.0 at best and 49.0 at the end, ')
    said = (tmp_path / 'before_after.md').read_text()
    assert '| **k-NN** | 60.0 | 60.0 | 49.0 | +0.0 |' in said and 'It did harm' in said


def test_a_network_that_cannot_be_measured_any_more_is_a_bad_look(tmp_path, monkeypatch):
    """As after NaN in its weights: the measure that decides is missing, and the others may be."""
    runner, hook = guarded(tmp_path, monkeypatch, [60, None, 61, None, None], patience=2)
    runner.train()
    assert runner.iter == 8 and hook.watch == 'k-NN'
    assert hook.found.best.step == 4
    assert 'k-NN went from 60.0 to 61.0 at best and not a number at the end' in hook.found.verdict()
    assert '| **k-NN** | 60.0 | 61.0 | nan | +1.0 |' in (tmp_path / 'before_after.md').read_text()


def test_a_measure_that_rises_and_falls_leaves_its_best_network(tmp_path, monkeypatch):
    runner, hook = guarded(tmp_path, monkeypatch, [40, 45, 52, 50, 51, 51, 50], tolerance=5)
    kept = {}
    look = hook.look

    def watched(runner, backbone, step):
        kept[step] = backbone.model.norm.weight.clone()
        look(runner, backbone, step)

    monkeypatch.setattr(hook, 'look', watched)
    runner.train()
    assert runner.iter == 12
    assert torch.equal(weights_of(tmp_path / 'best.pth'), kept[4])
    card = json.loads((tmp_path / 'scorecard.json').read_text())['measures']
    assert card == {
        'before': {'k-NN': 40, 'RankMe': 5.0},
        'best, step 4': {'k-NN': 52, 'RankMe': 5.0},
        'last, step 12': {'k-NN': 50, 'RankMe': 5.0},
    }
    assert hook.found.verdict().startswith('It helped: k-NN went from 40.0 to 52.0 at best and 50.0 at the end')


def test_one_bad_look_between_good_ones_ends_nothing(tmp_path, monkeypatch):
    runner, _ = guarded(tmp_path, monkeypatch, [60, 10, 60, 10, 60, 10, 60], tolerance=5, patience=2)
    runner.train()
    assert runner.iter == 12


def test_a_resumed_run_knows_what_was_measured_before(tmp_path, monkeypatch):
    runner, _ = guarded(tmp_path, monkeypatch, [60, 70, 65, 64, 63, 62, 61], patience=0)
    runner.train()
    (tmp_path / 'iter_12.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_8.pth'))
    best = (tmp_path / 'best.pth').read_bytes()
    resumed, hook = guarded(tmp_path, monkeypatch, [12.0, 13.0], patience=0)
    resumed._resume = True
    resumed.train()
    assert [look.step for look in hook.looks] == [0, 2, 4, 6, 8, 10, 12]
    assert [look.scores['k-NN'] for look in hook.looks] == [60, 70, 65, 64, 63, 12, 13]
    assert (tmp_path / 'best.pth').read_bytes() == best


def measured_on(monkeypatch, files, scores):
    """The guard measures on these files, and each adds the same to the score."""

    def prepare(hook, runner):
        hook.card = Card([dict(img_path=str(file), gt_label=0) for file in files], None, [], [], 32, 32)

    def evaluate(hook, runner, backbone):
        hook.by_image = {'k-NN': mean_over_images(torch.full((len(files),), scores.pop(0) / 100))}
        return {'k-NN': hook.by_image['k-NN'].score}

    monkeypatch.setattr(OnlineEvaluationHook, 'prepare', prepare)
    monkeypatch.setattr(OnlineEvaluationHook, 'evaluate', evaluate)


@pytest.mark.parametrize('first', [0, 4])
def test_a_resumed_run_with_other_images_goes_on_says_so_and_does_not_stop_because_they_are_harder(
    tmp_path, monkeypatch, first
):
    """Twelve images and eight more; or as many others."""
    files = sorted((CIFAR / 'bird').iterdir())[:20]
    config = small_config(tmp_path, train_cfg__max_epochs=1)
    config.custom_hooks.append(dict(type='dino_plugin.GuardHook', interval=2, by_epoch=False, patience=2))
    measured_on(monkeypatch, files[:12], [60, 61, 62, 62])
    build_runner(config).train()
    config.train_cfg.max_epochs, config.resume = 2, True
    measured_on(monkeypatch, files[first : 20 if first == 0 else 16], [40, 39.5, 40])
    runner = build_runner(config)
    runner.train()
    assert runner.iter == 12
    log = ''.join(file.read_text() for file in tmp_path.glob('*/*.log'))
    assert log.count('the images measured on are others than before') == 1
    said = (tmp_path / 'before_after.md').read_text()
    assert 'k-NN went from 60.0 to 62.0 at best and 40.0 at the end' in said
    assert said.endswith('The images changed meanwhile: a part of it may be theirs.\n')


def test_the_same_images_in_another_folder_are_the_same(tmp_path):
    def card(folder):
        return Card([dict(img_path=str(file)) for file in sorted(folder.iterdir())], None, [], [], 32, 32)

    before, copy = hash_of_card(card(CIFAR / 'bird')), tmp_path / 'bird'
    shutil.copytree(CIFAR / 'bird', copy)
    assert hash_of_card(card(copy)) == before
    next(copy.iterdir()).write_bytes(b'')
    assert hash_of_card(card(copy)) != before


@pytest.mark.parametrize(('root', 'classes'), [(CIFAR, 10), (CIFAR / 'bird', 0), ([str(CIFAR)] * 2, 0)])
def test_the_images_of_the_training_are_measured_on_if_no_others_are_named(root, classes):
    dataset = SeededDataset(ImageDataset(data_root=root))
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset), logger=logging.getLogger())
    images, labelled = GuardHook(interval=1, limit=50).read_images(runner)
    assert {sample['img_path'] for sample in images} <= {sample['img_path'] for sample in dataset.dataset}
    assert len({sample['gt_label'] for part in labelled or () for sample in part}) == classes
    assert len(images) == min(50, len(dataset))


def test_a_data_set_without_files_needs_another_folder():
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=[torch.zeros(3, 8, 8)]))
    with pytest.raises(ValueError, match='list does not say where its images are; give images=FOLDER'):
        GuardHook().read_images(runner)


def test_what_decides_is_the_first_measure_that_there_is():
    hook = GuardHook(images='x')
    hook._choose_what_decides({'RankMe': 3.0, 'neighbours that agree': 20.0})
    assert hook.watch == 'neighbours that agree' == ORDER[-1]
    with pytest.raises(ValueError, match=r"watch='linear' is not among the measures found: \['RankMe'\]"):
        GuardHook(images='x', watch='linear')._choose_what_decides({'RankMe': 3.0})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(images='x', patience=-1), 'patience=-1 must be 0 or more'),
        (dict(images='x', tolerance=-0.1), 'tolerance=-0.1'),
        (dict(images='x', before_training=False), 'it compares with the network before training'),
        (dict(images=''), 'give a folder of images'),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GuardHook(**options)


def _stop_together(rank: int, folder: str) -> None:
    patch = pytest.MonkeyPatch()
    runner, hook = guarded(Path(folder), patch, [60, 59, 50, 49, 48], tolerance=5, patience=2)
    runner.train()
    assert (runner.iter, len(hook.looks)) == (6, 4)
    patch.undo()


def test_two_processes_stop_after_the_same_iteration(tmp_path):
    run_in_processes(_stop_together, str(tmp_path))
