"""Test sets with other labels: layouts as of ImageNet-V2, -A, -R and -ReaL, made of bundled photographs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config

from dino_plugin.commands.runner import Runner
from dino_plugin.evaluation.bank_metric import Labelled
from dino_plugin.evaluation.classification.grid_metric import LinearGridMetric, accuracies_of_heads
from dino_plugin.evaluation.classification.other_labels import (
    ImagesOfClasses,
    NumberedImages,
    ValidLabels,
    learnt_classes,
    present_labels,
)
from dino_plugin.openmmlab.config_files import config_path

NAMES = sorted(path.name for path in CIFAR.iterdir())
NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=4, num_heads=2,
)  # fmt: skip


def layout(root: Path, folders: dict[str, str], count: int = 6) -> Path:
    """Photographs of CIFAR-10's classes in folders of other names."""
    for folder, name in folders.items():
        (root / folder).mkdir(parents=True)
        for path in sorted((CIFAR / name).iterdir())[:count]:
            shutil.copy(path, root / folder)
    return root


def labels_and_sources(dataset) -> set[tuple[int, str]]:
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {(info['gt_label'], Path(info['img_path']).parent.name) for info in infos}


def write(path: Path, content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_folders_with_names_of_learnt_classes_have_their_labels(tmp_path):
    """As ImageNet-A, -R and -Sketch: alone, the two folders would be 0 and 1."""
    dataset = ImagesOfClasses(layout(tmp_path, {'ship': 'ship', 'cat': 'cat'}), CIFAR)
    assert labels_and_sources(dataset) == {(NAMES.index('ship'), 'ship'), (NAMES.index('cat'), 'cat')}
    assert dataset.metainfo['classes'] == tuple(NAMES)
    assert present_labels(dataset) == sorted([NAMES.index('ship'), NAMES.index('cat')])


def test_folders_that_are_numbers_have_these_labels_and_not_their_sorted_places(tmp_path):
    """As ImageNet-V2, whose folder 10 sorts before folder 2."""
    (tmp_path / 'names.txt').write_text(''.join(f'class_{number} words\n' for number in range(12)))
    dataset = ImagesOfClasses(layout(tmp_path / 'v2', {'2': 'cat', '10': 'dog'}), tmp_path / 'names.txt')
    assert labels_and_sources(dataset) == {(2, '2'), (10, '10')}


def test_a_mapping_names_classes_or_numbers(tmp_path):
    mapping = write(tmp_path / 'map.json', {'kitten': 'cat', 'boat': 8, 'tom': 'cat'})
    root = layout(tmp_path / 'art', {'kitten': 'cat', 'boat': 'ship', 'tom': 'cat', 'dog': 'dog'})
    dataset = ImagesOfClasses(root, CIFAR, mapping)
    cat = NAMES.index('cat')
    assert labels_and_sources(dataset) == {(cat, 'kitten'), (cat, 'tom'), (8, 'boat'), (NAMES.index('dog'), 'dog')}


def test_folders_without_a_label_and_files_that_say_nothing_are_refused(tmp_path):
    root = layout(tmp_path / 'art', {'kitten': 'cat', 'cat': 'cat'})
    with pytest.raises(ValueError, match=r'1 of 2 folders are no class of the 10 learnt ones \(kitten'):
        ImagesOfClasses(root, CIFAR)
    with pytest.raises(ValueError, match='1 of 2 folders are no class'):
        ImagesOfClasses(root, CIFAR, write(tmp_path / 'map.json', {'kitten': 10}))
    with pytest.raises(ValueError, match='must hold'):
        ImagesOfClasses(root, CIFAR, write(tmp_path / 'map.json', ['kitten']))
    (tmp_path / 'map.json').write_text('{')
    with pytest.raises(ValueError, match='is not JSON'):
        ImagesOfClasses(root, CIFAR, tmp_path / 'map.json')
    with pytest.raises(FileNotFoundError, match='neither a folder nor a text list'):
        learnt_classes(tmp_path / 'nothing')
    (tmp_path / 'twice.txt').write_text('cat\ncat\n')
    with pytest.raises(ValueError, match='names 2 classes, 1 of them different'):
        learnt_classes(tmp_path / 'twice.txt')


def test_the_number_of_a_file_is_its_row_whatever_its_folder(tmp_path):
    for number, name in ((1, 'cat'), (12, 'cat'), (7, 'ship')):
        (tmp_path / 'val' / name).mkdir(parents=True, exist_ok=True)
        source = next((CIFAR / name).iterdir())
        shutil.copy(source, tmp_path / 'val' / name / f'ILSVRC2012_val_{number:08}.jpg')
    dataset = NumberedImages(data_root=tmp_path / 'val')
    assert sorted(dataset.get_data_info(index)['gt_label'] for index in range(3)) == [0, 6, 11]
    shutil.copy(source, tmp_path / 'val/cat/photo.jpg')
    with pytest.raises(ValueError, match=r'photo\.jpg does not end in a number'):
        NumberedImages(data_root=tmp_path / 'val')


def test_any_valid_label_is_right_and_images_without_one_do_not_count(tmp_path):
    valid = ValidLabels(write(tmp_path / 'real.json', [[3], [], [1, 4], [0]]))
    predicted = torch.tensor([[[3, 9], [0, 3]], [[0, 1], [2, 3]], [[4, -1], [99, 1]], [[1, 2], [2, 1]]])
    hits, counted = valid.hits(predicted, torch.tensor([0, 1, 2, 3]))
    assert counted.tolist() == [True, False, True, True]
    assert hits.tolist() == [
        [[True, False], [False, True]], [[False, False]] * 2, [[True, False], [False, True]], [[False, False]] * 2
    ]  # fmt: skip
    ranks = torch.cat([predicted, torch.full((4, 2, 3), 50)], dim=2)
    top1, top5 = accuracies_of_heads(Labelled(ranks, torch.arange(4)), valid)
    assert top1.tolist() == pytest.approx([200 / 3, 0]) and top5.tolist() == pytest.approx([200 / 3, 200 / 3])
    with pytest.raises(ValueError, match='has 4 rows, images ask for 0 to 4'):
        valid.hits(predicted, torch.tensor([0, 1, 2, 4]))
    with pytest.raises(ValueError, match='without valid labels'):
        accuracies_of_heads(Labelled(ranks[:1], torch.tensor([1])), valid)


def test_one_valid_label_an_image_is_the_usual_accuracy(tmp_path):
    labels = torch.randint(0, 10, (50,), generator=torch.Generator().manual_seed(0))
    ranked = torch.stack([torch.randperm(10, generator=torch.Generator().manual_seed(n))[:5] for n in range(50)])
    valid = ValidLabels(write(tmp_path / 'real.json', [[int(label)] for label in labels]))
    expected = accuracies_of_heads(Labelled(ranked[:, None], labels))
    assert accuracies_of_heads(Labelled(ranked[:, None], torch.arange(50)), valid) == expected


@pytest.mark.parametrize('content', [{}, [], [3], [[1.5]], [[-1]], [[True]]])
def test_a_file_that_is_no_list_of_labels_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match='list of lists of labels'):
        ValidLabels(write(tmp_path / 'real.json', content))


# --- the configs, by an untrained classifier: labels are tested, not what it learnt ---


def run(name: str, folder: Path, **test_dataset):
    """Scores of a config, and its runner; each run has the same network."""
    cfg = Config.fromfile(config_path(f'probes/linear-grid_vit-small-p16_{name}.py'))
    cfg.model.update(num_classes=10, backbone=NETWORK, learning_rates=(0.1,))
    for loader in (cfg.test_dataloader, cfg.test_cfg.held_out_dataloader):
        loader.update(num_workers=0, batch_size=16)
        dataset = loader.dataset.get('dataset', loader.dataset)
        dataset.data_root = str(CIFAR)
        dataset.pipeline[1].update(resize=36, crop=32)
    cfg.test_cfg.held_out_dataloader.dataset.dataset.indices = list(range(0, 1000, 20))
    cfg.test_dataloader.dataset.update(test_dataset)
    if 'classes' in cfg.test_dataloader.dataset:
        cfg.test_dataloader.dataset.classes = str(CIFAR)
    cfg.test_cfg.cache_gigabytes = 0
    folder.mkdir(parents=True, exist_ok=True)
    cfg.work_dir, cfg.experiment_name = str(folder), f'{folder.parent.name}_{folder.name}_{name}'
    if 'valid_labels' in cfg.test_evaluator:
        cfg.test_evaluator.valid_labels = str(folder / 'real.json')
    torch.manual_seed(0)
    runner = Runner.from_cfg({**cfg.to_dict(), 'randomness': dict(seed=0)})
    return runner.test(), runner


def test_other_names_of_the_same_folders_give_the_same_accuracy(tmp_path):
    numbered = layout(tmp_path / 'v2', {str(number): name for number, name in enumerate(NAMES)})
    named = layout(tmp_path / 'sketch', {name: name for name in NAMES})
    found = [
        run(name, tmp_path / f'out_{name}', data_root=str(root))[0]
        for name, root in (('in1k-v2', numbered), ('in1k-sketch', named), ('in1k-r', named))
    ]
    assert found[0] == found[1] == found[2] and 0 < found[0]['linear/top1'] < 60


@pytest.mark.parametrize('name', ['in1k-a', 'in1k-r'])
def test_only_classes_that_are_there_can_be_the_answer(name, tmp_path):
    root = layout(tmp_path / 'a', {'cat': 'cat', 'ship': 'ship', 'truck': 'truck'}, count=20)
    scores, runner = run(name, tmp_path / 'out', data_root=str(root))
    model, there = runner.model, [NAMES.index(one) for one in ('cat', 'ship', 'truck')]
    chosen = [
        place for place, one in enumerate(model.settings)
        if tuple(map(float, one)) == tuple(scores[f'linear/{key}'] for key in one._fields)
    ]  # fmt: skip
    right = total = 0
    with torch.no_grad():
        for batch in runner.test_dataloader:
            inputs = model.data_preprocessor(batch)
            logits = model(**inputs)[chosen[0]]
            right += int((torch.tensor(there)[logits[:, there].argmax(dim=1)] == inputs['labels']).sum())
            total += len(logits)
    assert total == 60 and scores['linear/top1'] == pytest.approx(100 * right / total)
    assert model.answers is None  # held-out images may get any class


def test_real_with_the_usual_labels_is_the_usual_accuracy_and_with_all_labels_everything_is_right(tmp_path):
    root = layout(tmp_path / 'val', {name: name for name in NAMES}, count=3)
    usual = run('in1k-sketch', tmp_path / 'usual', data_root=str(root))[0]['linear/top1']
    numbers = {}
    for number, path in enumerate(sorted(root.rglob('*.jpg')), 1):
        numbers[number - 1] = NAMES.index(path.parent.name)
        path.rename(path.with_name(f'ILSVRC2012_val_{number:08}.jpg'))
    for valid, expected in (
        ([[numbers[row]] for row in range(30)], usual),
        ([list(range(10))] * 30, 100),
    ):
        folder = tmp_path / f'real_{expected}'
        folder.mkdir()
        write(folder / 'real.json', valid)
        found = run('in1k-real', folder, data_root=str(root))[0]
        assert found['linear/top1'] == pytest.approx(expected)


def test_a_missing_file_of_valid_labels_is_named_before_the_network_runs():
    with pytest.raises(FileNotFoundError, match='nowhere'):
        LinearGridMetric(valid_labels='nowhere.json')
