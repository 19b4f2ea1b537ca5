"""The scorecard's numbers are those of the functions it names, with the images and classes that were found."""

import json
import runpy
import sys
from collections import Counter

import pytest
import torch
from bundled import CIFAR, DAVIS

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.statistics import effective_rank
from dino_plugin.evaluation.classification.knn import knn_accuracy
from dino_plugin.evaluation.classification.linear import linear_probe
from dino_plugin.evaluation.features.cache import FeatureCache
from dino_plugin.evaluation.objects.images import ObjectDataset
from dino_plugin.evaluation.retrieval.by_class import class_retrieval
from dino_plugin.evaluation.scorecard import measures as scorecard
from dino_plugin.evaluation.scorecard.data import Card, read_images
from dino_plugin.evaluation.scorecard.measures import features_of, measure, measure_pixels

ARGUMENTS = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return TimmBackbone('vit_tiny_patch16_224', **ARGUMENTS)


@pytest.fixture
def classes(tmp_path):
    """Three classes with 20, 10 and 5 photographs."""
    root = tmp_path / 'images'
    for name, count in (('bird', 20), ('cat', 10), ('ship', 5)):
        (root / name).mkdir(parents=True)
        for path in sorted((CIFAR / name).glob('*.jpg'))[:count]:
            (root / name / path.name).symlink_to(path)
    return root


def card_of(images, labelled=None, **changes):
    return Card(**dict(images=images, labelled=labelled, objects=[], clips=[], size=32, short_side=64) | changes)


def counts(infos):
    return Counter(info['gt_label'] for info in infos)


def test_classes_come_from_folders_and_a_fifth_of_each_is_asked_about(classes):
    images, labelled = read_images(classes, None, limit=100)
    assert counts(images) == {0: 20, 1: 10, 2: 5}
    assert counts(labelled.queries) == {0: 4, 1: 2, 2: 1} and counts(labelled.bank) == {0: 16, 1: 8, 2: 4}
    limited, _ = read_images(classes, None, limit=14)
    assert counts(limited) == {0: 8, 1: 4, 2: 2}


def test_train_and_val_folders_are_taken_as_they_are(classes, tmp_path):
    (tmp_path / 'both').mkdir()
    for name in ('train', 'val'):
        (tmp_path / 'both' / name).symlink_to(classes)
    images, labelled = read_images(tmp_path / 'both', None, limit=100)
    assert len(images) == 70 and counts(labelled.bank) == counts(labelled.queries) == {0: 20, 1: 10, 2: 5}


def test_classes_come_from_a_csv_file(classes, tmp_path):
    paths = [f'bird/{path.name}' for path in sorted((classes / 'bird').iterdir())]
    rows = [f'{path},{"even" if number % 2 == 0 else "odd"}' for number, path in enumerate(paths)]
    (tmp_path / 'labels.csv').write_text('\n'.join(['file,label', *rows]))
    images, labelled = read_images(classes, tmp_path / 'labels.csv', limit=100)
    assert counts(images) == {0: 10, 1: 10} and counts(labelled.queries) == {0: 2, 1: 2}
    (tmp_path / 'labels.csv').write_text('name,label\na.jpg,1')
    with pytest.raises(ValueError, match='must have the columns file and label'):
        read_images(classes, tmp_path / 'labels.csv', limit=100)
    (tmp_path / 'labels.csv').write_text('file,label\na.jpg,1')
    with pytest.raises(FileNotFoundError, match=r'1 of 1 files in .*labels\.csv do not exist, the first: .*a\.jpg'):
        read_images(classes, tmp_path / 'labels.csv', limit=100)


def test_images_without_classes_are_asked_what_needs_none(classes, backbone):
    images, labelled = read_images(classes / 'bird', None, limit=100)
    assert labelled is None and len(images) == 20
    found = measure(backbone, card_of(images))
    assert found.keys() == {'RankMe', 'alpha-ReQ', 'LiDAR', 'neighbours that agree'}
    assert found == measure(backbone, card_of(images))  # random views, but the same ones
    assert 100 * 10 / 19 < found['neighbours that agree'] < 100  # chance is the first
    features, labels = features_of(backbone, images, 32)
    assert found['RankMe'] == pytest.approx(float(effective_rank(features)))
    assert labels.tolist() == [-1] * 20 and 1 < found['LiDAR'] <= 16
    assert measure_pixels(card_of(images)) == {}


def test_numbers_are_those_of_the_functions_and_a_second_card_takes_the_kept_features(
    classes, backbone, tmp_path, monkeypatch
):
    images, labelled = read_images(classes, None, limit=100)
    cache = FeatureCache(tmp_path / 'cache')
    card = card_of(images, labelled)
    found = measure(backbone, card, cache)
    bank, queries = (features_of(backbone, part, 32) for part in labelled)
    assert found['k-NN'] == knn_accuracy(*bank, *queries, (20,))['top1_k20']
    assert found['linear'] == linear_probe(*bank, *queries).top1
    assert found['retrieval mAP'] == class_retrieval(*bank, *queries)['mAP']
    assert '4-shot logistic' in found  # the smallest class has four to learn from
    assert measure_pixels(card).keys() == {'k-NN'}

    def refused(*_):
        raise AssertionError('the network ran')

    monkeypatch.setattr(scorecard, 'extract_features', refused)
    monkeypatch.setitem(scorecard.MEASURES, 'LiDAR', ('clips', refused))
    again = measure(backbone, card, cache)
    assert again == {name: value for name, value in found.items() if name not in ('LiDAR', 'neighbours that agree')}


def test_what_a_network_cannot_answer_is_told_and_the_rest_goes_on(classes):
    images, labelled = read_images(classes, None, limit=20)
    objects = list(ObjectDataset(DAVIS, 'JPEGImages/480p', 'Annotations/480p'))[:2]
    found = measure(TimmBackbone('resnet10t'), card_of(images, labelled, objects=objects))
    assert found['attention Jaccard'].startswith('ResNet is a convolutional network')
    assert isinstance(found['k-NN'], float)


def test_a_network_whose_training_diverged_is_told_by_every_measure(classes):
    images, labelled = read_images(classes, None, limit=20)
    broken = TimmBackbone('vit_tiny_patch16_224', **ARGUMENTS)
    torch.nn.init.constant_(broken.model.norm.weight, torch.nan)
    found = measure(broken, card_of(images, labelled))
    assert found.keys() == {'classes', 'spectrum', 'LiDAR'} and all(isinstance(said, str) for said in found.values())


def test_the_command_prints_and_writes_one_table(classes, backbone, tmp_path, repository, monkeypatch, capsys):
    checkpoint = tmp_path / 'mine.pth'
    torch.save({'state_dict': backbone.model.state_dict(), 'meta': {'backbone': backbone.description}}, checkpoint)
    frames = tmp_path / 'masks'
    for kind, ending in (('JPEGImages', '.jpg'), ('Annotations', '.png')):
        (frames / kind).mkdir(parents=True)
        source = sorted((DAVIS / kind / '480p').iterdir())[0]
        for path in sorted(source.glob(f'*{ending}'))[:2]:
            (frames / kind / path.name).symlink_to(path)
    out = tmp_path / 'card'
    command = ['scorecard.py', str(checkpoint), '--images', str(classes), '--masks', str(frames), '--out', str(out)]
    dense = tmp_path / 'dense'
    dense.mkdir()
    (dense / 'images').symlink_to(frames / 'JPEGImages')
    (dense / 'masks').symlink_to(frames / 'Annotations')
    pairs = frames / 'pairs.csv'  # each picture is its own partner
    names = sorted(path.name for path in (frames / 'JPEGImages').iterdir())
    pairs.write_text('first,second\n' + ''.join(f'JPEGImages/{name},JPEGImages/{name}\n' for name in names))
    monkeypatch.setattr(sys, 'argv', [*command, '--class-masks', str(dense), '--pairs', str(pairs), '--short-side=64'])
    runpy.run_path(str(repository / 'tools/scorecard.py'), run_name='__main__')
    printed = capsys.readouterr().out
    content = json.loads((out / 'scorecard.json').read_text())
    assert [*content['measures']] == ['mine', 'untrained', 'raw pixels'] and content['size'] == 32
    for name in ('k-NN', 'linear', 'LiDAR', 'attention Jaccard, mean map', 'TokenCut CorLoc'):
        assert name in printed and 0 <= content['measures']['mine'][name] <= 100
    assert content['measures']['mine']['pairs found'] == 100
    assert '35 images of 32 px, 28 to learn from and 7 to classify; 4 with masks, 0 clips.' in printed
    for name in ('figure of patches', 'patches'):
        assert f'\n{name}: 2 images with masks; four are needed, of which a half teaches.' in printed
    assert {path.name for path in out.glob('*.png')} == {'features_0_mine.png', 'features_1_untrained.png'}


def test_the_untrained_network_has_no_layer_scale_that_switches_its_blocks_off(repository):
    untrained = runpy.run_path(str(repository / 'tools/scorecard.py'))['untrained']
    for name, scaled in (('vit_tiny_patch16_224', False), ('vit_small_patch14_dinov2', True)):
        network = untrained(TimmBackbone(name, **ARGUMENTS))
        gammas = [value for key, value in network.model.state_dict().items() if key.endswith('ls1.gamma')]
        assert bool(gammas) is scaled and all((value == 1).all() for value in gammas)


def test_patches_of_other_images_are_told_figure_from_ground(tmp_path, backbone):
    """Red squares on blue: any network's patches tell them apart, so the score says that labels and patches fit."""
    import cv2
    import numpy as np

    for number in range(6):
        mask = np.zeros((64, 64), np.uint8)
        mask[16:48, 8 * number : 8 * number + 24] = 1
        image = np.where(mask[..., None] == 1, np.uint8([40, 40, 220]), np.uint8([200, 60, 20])).astype(np.uint8)
        for kind, content in (('images', image), ('masks', mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / kind / f'{number}.png'), content)
    objects = list(ObjectDataset(tmp_path, 'images', 'masks'))
    found = measure(backbone, card_of([], objects=objects), measures=['figure of patches'])
    assert found['figure of patches mIoU'] > 95
    classes = measure(backbone, card_of([], class_masks=objects))
    assert classes == {'patches mIoU': found['figure of patches mIoU']}  # two classes, with the same labels
    few = measure(backbone, card_of([], objects=objects[:3]), measures=['figure of patches'])
    assert few == {'figure of patches': '3 images with masks; four are needed, of which a half teaches.'}
