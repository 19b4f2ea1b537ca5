"""Segmentation without training: labels of patches, choice of settings, pixels; slow references and truths by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundled import DAVIS
from mmengine.config import Config
from processes import run_in_processes
from torch.nn.functional import interpolate, normalize

from dino_plugin.commands.runner import Runner
from dino_plugin.data.images.label_masks import read_mask, write_mask
from dino_plugin.engine.evaluating.patch_extractor import PatchExtractor
from dino_plugin.evaluation.objects.images import ObjectDataset
from dino_plugin.evaluation.segmentation.patch_classifiers import (
    PatchBank,
    choose_knn,
    choose_logistic,
    held_out_images,
    patches_of_image,
)
from dino_plugin.evaluation.segmentation.patch_labels import (
    class_ious,
    confusion,
    mean_iou,
    patch_labels,
    without_ignored,
)
from dino_plugin.evaluation.segmentation.patch_metric import PatchKNNMetric, PatchLogisticMetric, enlarged_labels
from dino_plugin.openmmlab.config_files import config_path

RANDOM = np.random.default_rng(0)
NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', patch_size=8, embed_dim=32, depth=2, num_heads=2
)


def random_mask(rows: int, columns: int, labels=(0, 1, 2, 255), shares=(0.4, 0.3, 0.29, 0.01)) -> np.ndarray:
    return RANDOM.choice(np.array(labels, np.uint8), (rows, columns), p=shares)


@pytest.mark.parametrize('size, grid', [((12, 16), (3, 4)), ((13, 10), (3, 4)), ((31, 47), (7, 5)), ((3, 9), (5, 4))])
def test_patch_labels_are_the_majority_of_the_pixels_whose_centres_a_patch_covers(size, grid):
    mask = random_mask(*size)
    found = patch_labels(mask, grid)
    members = {(row, column): [] for row in range(grid[0]) for column in range(grid[1])}
    for row in range(size[0]):
        for column in range(size[1]):
            place = int((row + 0.5) / size[0] * grid[0]), int((column + 0.5) / size[1] * grid[1])
            members[place].append(int(mask[row, column]))
    for place, labels in members.items():
        expected = 255 if not labels or 255 in labels else max(sorted(set(labels)), key=labels.count)
        assert found[place] == expected, place


def test_equally_many_pixels_give_the_smaller_label_and_one_ignored_pixel_ignores_the_patch():
    mask = np.array([[7, 3, 5, 5], [3, 7, 5, 255]], np.uint8)
    assert patch_labels(mask, (1, 2)).tolist() == [[3, 255]]
    assert without_ignored(mask, (255, 7)).tolist() == [[255, 3, 5, 5], [3, 255, 5, 255]]


def test_the_measures_are_those_of_mmsegmentation():
    metrics = pytest.importorskip('mmseg.evaluation.metrics')
    masks = [random_mask(9, 11, shares=(0.6, 0.2, 0.1, 0.1)) for _ in range(3)]
    predicted = [RANDOM.integers(0, 3, (9, 11)).astype(np.uint8) for _ in masks]
    counts = sum(map(confusion, masks, predicted))
    theirs = [
        metrics.IoUMetric.intersect_and_union(torch.from_numpy(one).long(), torch.from_numpy(mask).long(), 3, 255)
        for mask, one in zip(masks, predicted)
    ]  # fmt: skip
    areas = [sum(part) for part in zip(*theirs)]
    found = metrics.IoUMetric.total_area_to_metrics(*areas, ['mIoU'])
    assert 100 * counts.trace() / counts.sum() == pytest.approx(100 * found['aAcc'])
    np.testing.assert_allclose(list(class_ious(counts).values()), 100 * np.asarray(found['IoU']), rtol=1e-5)
    assert mean_iou(counts) == pytest.approx(100 * np.nanmean(found['IoU']), rel=1e-5)


def test_measures_by_hand():
    mask = np.array([0, 0, 0, 4, 255], np.uint8)
    counts = confusion(mask, np.array([0, 0, 4, 4, 9], np.uint8))
    assert class_ious(counts) == pytest.approx({0: 200 / 3, 4: 50.0})
    assert mean_iou(counts) == pytest.approx(175 / 3)
    with pytest.raises(ValueError, match='No pixel has a label'):
        mean_iou(confusion(np.full(3, 255, np.uint8), np.zeros(3, np.uint8)))


def test_the_draw_of_an_image_is_its_own_and_takes_no_patch_twice():
    labels = torch.tensor([255, 1, 2, 255] * 20)
    drawn = patches_of_image(labels, 12, number=5)
    assert len(set(drawn.tolist())) == 12 and (labels[drawn] != 255).all()
    assert torch.equal(drawn, patches_of_image(labels, 12, number=5))
    for other in (dict(number=6), dict(number=5, seed=1)):
        assert not torch.equal(drawn, patches_of_image(labels, 12, **other))
    assert patches_of_image(labels, None, 0).tolist() == (labels != 255).nonzero()[:, 0].tolist()
    assert len(patches_of_image(labels, 99, 0)) == 40


def test_all_patches_of_an_image_are_held_out_together():
    images = torch.arange(30).repeat_interleave(3)
    apart = held_out_images(images)
    assert len(images[apart].unique()) == 3 and torch.equal(apart, held_out_images(images))
    assert not set(images[apart].tolist()) & set(images[~apart].tolist())
    assert not torch.equal(apart, held_out_images(images, seed=1))
    with pytest.raises(ValueError, match='1 training images have labelled patches: at least two'):
        held_out_images(torch.full((9,), 4))


def bank(num_images: int = 20, of_each: int = 12, noise: float = 1.0, seed: int = 0) -> PatchBank:
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, 3, (num_images * of_each,), generator=random)
    features = centres[labels] + noise * torch.randn(len(labels), 8, generator=random)
    return PatchBank(features, labels, torch.arange(num_images).repeat_interleave(of_each))


def slow_votes(part: PatchBank, query, k: int, temperature: float) -> list[float]:
    cosines = [float(normalize(one, dim=0) @ normalize(query, dim=0)) for one in part.features]
    votes = [0.0] * 3
    for place in sorted(range(len(cosines)), key=lambda place: -cosines[place])[:k]:
        votes[int(part.labels[place])] += np.exp(cosines[place] / temperature)
    return [vote / sum(votes) for vote in votes]


def test_knn_equals_its_equation_and_is_chosen_on_held_out_images():
    patches, queries = bank(), bank(seed=1).features[:7]
    found = choose_knn(patches, ks=(1, 5, 20), temperatures=(0.05, 1.0))
    setting = found.setting['k'], found.setting['temperature']
    expected = torch.tensor([slow_votes(patches, query, *setting) for query in queries])
    torch.testing.assert_close(found.predict(queries), expected.float(), rtol=1e-4, atol=1e-5)

    apart = held_out_images(patches.images)
    train = PatchBank(*(part[~apart] for part in patches))
    for (k, temperature), score in found.held_out_miou.items():
        votes = torch.tensor([slow_votes(train, query, k, temperature) for query in patches.features[apart]])
        counts = confusion(patches.labels[apart].numpy().astype(np.uint8), votes.argmax(1).numpy().astype(np.uint8))
        assert score == pytest.approx(mean_iou(counts))
    assert found.held_out_miou[setting] == max(found.held_out_miou.values()) > min(found.held_out_miou.values())


def test_the_order_of_patches_does_not_matter_and_copies_of_all_do_not_change_votes():
    patches, queries = bank(), bank(seed=1).features
    order = torch.randperm(len(patches.labels), generator=torch.Generator().manual_seed(0))
    shuffled = PatchBank(*(part[order] for part in patches))
    one, other = choose_knn(patches), choose_knn(shuffled)
    assert one.held_out_miou == pytest.approx(other.held_out_miou)
    torch.testing.assert_close(one.predict(queries), other.predict(queries))
    twice = PatchBank(*(part.repeat(*[2] + [1] * (part.ndim - 1)) for part in patches))
    single, double = (choose_knn(part, (k,), (0.1,)).predict(queries) for part, k in ((patches, 4), (twice, 8)))
    torch.testing.assert_close(single, double)


def test_regression_is_fitted_to_all_patches_with_the_c_chosen_on_held_out_images():
    from dino_plugin.evaluation.classification.logistic import fitted_logits

    patches, queries = bank(), bank(seed=1).features
    found = choose_logistic(patches, strengths=(1e-5, 1.0))
    assert found.setting == {'C': 1.0} and found.held_out_miou[1.0,] > found.held_out_miou[1e-5,]
    expected = fitted_logits(patches.features, patches.labels, queries, 1.0).softmax(dim=1)
    torch.testing.assert_close(found.predict(queries), expected, rtol=1e-3, atol=1e-3)


def test_fewer_iterations_are_another_fit():
    patches = bank()
    few, many = (choose_logistic(patches, (100.0,), count).predict(patches.features) for count in (1, 300))
    assert (few - many).abs().max() > 0.01


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ks=()), 'are whole numbers from 1'),
        (dict(ks=(0, 2)), 'are whole numbers from 1'),
        (dict(temperatures=(0.0,)), 'are above 0'),
        (dict(ks=(1000,)), r'All ks are larger than the \d+ labelled patches'),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choose_knn(bank(), **options)


@pytest.mark.parametrize('choose', [choose_knn, choose_logistic])
def test_features_that_are_not_finite_are_refused(choose):
    patches = bank()
    patches.features[5, 3] = torch.nan
    with pytest.raises(ValueError, match='NaN'):
        choose(patches)


@pytest.mark.parametrize('classes', [2, 16, 40])
def test_pixels_have_the_most_probable_class_after_bilinear_enlargement(classes):
    probabilities = torch.rand(3, 5, classes, generator=torch.Generator().manual_seed(0))
    maps = interpolate(probabilities.permute(2, 0, 1)[None], (37, 41), mode='bilinear', align_corners=False)[0]
    np.testing.assert_array_equal(enlarged_labels(probabilities, (37, 41)), maps.argmax(dim=0).numpy())


def test_a_grid_of_the_size_of_the_mask_keeps_its_labels():
    labels = torch.randint(0, 5, (6, 9), generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(labels, 5).float()
    np.testing.assert_array_equal(enlarged_labels(one_hot, (6, 9)), labels.numpy())


@pytest.mark.parametrize('metric', [PatchKNNMetric(), PatchLogisticMetric(strengths=(100.0,))])
def test_features_that_say_the_label_give_the_mask_back(metric):
    masks = [np.kron(random_mask(4, 6, (0, 1, 2), (0.4, 0.3, 0.3)), np.ones((5, 5), np.uint8)) for _ in range(4)]
    grids = [torch.eye(3)[torch.from_numpy(patch_labels(mask, (4, 6))).long()] for mask in masks]
    labels = torch.cat([grid.argmax(dim=2).flatten() for grid in grids])
    metric.fit(
        PatchBank(torch.cat([grid.flatten(0, 1) for grid in grids]), labels, torch.arange(4).repeat_interleave(24))
    )
    for grid, mask in zip(grids, masks):
        metric.process(None, [dict(name='image', patches=grid, mask=mask)])
    scores = metric.evaluate(4)
    # Bilinear enlargement rounds the corners of the blocks.
    assert scores[f'{metric.prefix}/accuracy'] > 80 and scores[f'{metric.prefix}/classes'] == 3


@pytest.mark.parametrize('metric', [PatchKNNMetric(), PatchLogisticMetric((1.0,))])
def test_an_image_whose_features_are_not_finite_is_named(metric):
    metric.fit(bank())
    patches = torch.zeros(2, 3, 8)
    patches[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match='Features of swan hold NaN'):
        metric.process(None, [dict(name='swan', patches=patches, mask=np.zeros((4, 6), np.uint8))])


def test_a_metric_without_a_bank_names_the_loop():
    with pytest.raises(ValueError, match='PatchTestLoop'):
        PatchKNNMetric().process(None, [])


def test_settings_of_the_metrics_reach_the_choice():
    patches = bank()
    assert set(PatchKNNMetric((2,), (0.3,)).choose(patches).held_out_miou) == {(2, 0.3)}
    by_seed = [PatchKNNMetric(seed=seed).choose(bank(noise=2.0)).held_out_miou for seed in (0, 1)]
    assert by_seed[0] != by_seed[1]
    few = PatchLogisticMetric((100.0,), max_iterations=1, seed=3).choose(patches)
    again = choose_logistic(patches, (100.0,), 1, 3)
    assert few.held_out_miou == again.held_out_miou
    assert torch.equal(few.predict(patches.features), again.predict(patches.features))


@pytest.fixture
def folders(tmp_path):
    """Frames of two clips to fit and other frames of them to test, with their masks."""
    for split, frames in dict(train=('00000', '00012', '00024'), val=('00006', '00018')).items():
        for clip in ('blackswan', 'car-shadow'):
            for frame in frames:
                for kind, source, ending in (('images', 'JPEGImages', 'jpg'), ('masks', 'Annotations', 'png')):
                    target = tmp_path / split / kind
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy(
                        DAVIS / source / '480p' / clip / f'{frame}.{ending}', target / f'{clip}_{frame}.{ending}'
                    )
    return tmp_path


def shipped(folders, **options):
    cfg = Config.fromfile(config_path('probes/patches_folder.py'))
    cfg.merge_from_dict({
        'model.backbone': NETWORK, 'model.short_side': 64, 'work_dir': str(folders / 'out'),
        'experiment_name': folders.name, 'test_dataloader.dataset.data_root': str(folders / 'val'),
        'test_cfg.bank_dataloader.dataset.data_root': str(folders / 'train'), **options,
    })  # fmt: skip
    torch.manual_seed(0)
    return Runner.from_cfg(cfg)


def test_the_config_segments_bundled_frames_better_than_one_class_everywhere(folders):
    scores = shipped(folders).test()
    masks = [read_mask(path) for path in (folders / 'val/masks').iterdir()]
    background = sum(confusion(mask, np.zeros_like(mask)) for mask in masks)
    for name, gain in dict(patch_knn=5, patch_logistic=1).items():  # an untrained network; measured: 12.7 and 2.3
        assert scores[f'{name}/miou'] > mean_iou(background) + gain and scores[f'{name}/classes'] == 2
    assert {'patch_knn/k', 'patch_knn/temperature', 'patch_logistic/C', 'patch_knn/accuracy'} <= set(scores)


def test_images_of_the_bank_itself_come_back_with_one_neighbour(folders):
    options = {
        'test_dataloader.dataset.data_root': str(folders / 'train'),
        'test_cfg.patches_per_image': None,
        'test_evaluator': [dict(type='dino_plugin.PatchKNNMetric', ks=(1,))],
    }
    scores = shipped(folders, **options).test()
    items = ObjectDataset(str(folders / 'train'), 'images', 'masks')
    grids = [patch_labels(read_mask(item.mask_path), (8, 14)) for item in items]
    best = sum(
        confusion(read_mask(item.mask_path), enlarged_labels(torch.eye(256)[torch.from_numpy(grid).long()], item.size))
        for item, grid in zip(items, grids)
    )
    assert scores['patch_knn/miou'] == pytest.approx(mean_iou(best), abs=1e-3)


def test_an_ignored_label_is_no_class_and_no_prediction(folders):
    for split in ('train', 'val'):
        for path in (folders / split / 'masks').iterdir():
            mask = read_mask(path)
            mask[:40] = 7
            write_mask(mask, path)
    scores = shipped(folders, **{'model.ignored': (7, 255), 'test_cfg.patches_per_image': 20}).test()
    assert scores['patch_knn/classes'] == 2
    with pytest.raises(ValueError, match='No patch of the training images has a label'):
        shipped(folders, **{'model.ignored': (0, 1, 7)}).test()


def test_the_bank_has_at_most_so_many_patches_of_an_image_and_the_seed_draws_them(folders):
    def drawn(**options):
        runner = shipped(folders, **{f'test_cfg.{name}': value for name, value in options.items()})
        return runner.build_test_loop(runner._test_loop)._bank()

    few, other, whole = drawn(patches_per_image=10), drawn(patches_per_image=10, seed=1), drawn(patches_per_image=None)
    assert few.images.bincount().tolist() == [10] * 6
    assert whole.images.bincount().tolist() == [8 * 14] * 6
    assert not torch.equal(few.features, other.features)
    with pytest.raises(ValueError, match='patches_per_image=0 must be at least 1'):
        drawn(patches_per_image=0)


def test_an_image_without_a_mask_and_a_loss_are_refused(folders):
    extractor = PatchExtractor(NETWORK, short_side=32)
    item = ObjectDataset(str(folders / 'val'), 'images')[0]
    with pytest.raises(ValueError, match='has no mask'):
        extractor(item)
    with pytest.raises(ValueError, match='has no loss'):
        extractor(item, mode='loss')
    with pytest.raises(ValueError, match='precision must be one of'):
        PatchExtractor(NETWORK, precision='int8')


def test_precision_and_preprocessor_change_the_features(folders):
    item = ObjectDataset(str(folders / 'val'), 'images', 'masks')[0]
    exact = PatchExtractor(NETWORK, short_side=32).eval()
    for options in (
        dict(precision='bf16'),
        dict(data_preprocessor=dict(type='dino_plugin.ViewPreprocessor', mean=[0.0] * 3, std=[255.0] * 3)),
    ):
        other = PatchExtractor(NETWORK, short_side=32, **options).eval()
        other.backbone.load_state_dict(exact.backbone.state_dict())
        difference = (exact(item)['patches'] - other(item)['patches']).abs().max()
        assert difference > 0


def _segment_on_two(rank: int, folders: Path) -> None:
    scores = shipped(folders, launcher='pytorch', model_wrapper_cfg=dict(device_ids=None)).test()
    if rank == 0:
        (folders / 'scores.json').write_text(json.dumps({name: float(value) for name, value in scores.items()}))


def test_two_processes_give_what_one_gives(folders):
    expected = shipped(folders).test()
    run_in_processes(_segment_on_two, folders)
    found = json.loads((folders / 'scores.json').read_text())
    # scikit-learn sums in the order of the patches, which is that of the processes.
    assert found == pytest.approx(expected, rel=1e-2)
