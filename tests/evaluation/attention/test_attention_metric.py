"""The configs of attention/ on bundled frames: equal to the functions called one by one; tables; bad input."""

import csv

import cv2
import numpy as np
import pytest
import torch
from bundled import DAVIS
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.backbones.attention_maps import attention_of
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.label_masks import read_mask
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.attention.heads import attended_distance, figure_statistics, map_statistics
from dino_plugin.evaluation.attention.jaccard import image_jaccard, summarise_jaccard
from dino_plugin.evaluation.attention.metric import AttentionJaccardMetric
from dino_plugin.openmmlab.config_files import config_path

NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
FRAMES = ('blackswan/00000', 'libby/00000', 'car-shadow/00000')


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    backbone = TimmBackbone(**NETWORK)
    with torch.no_grad():
        for block in backbone.model.blocks:
            block.attn.qkv.weight.mul_(20)  # so that heads differ
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'meta': {'backbone': backbone.description}, 'state_dict': state}, tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth'


def config(name, tmp_path, checkpoint, frames=FRAMES, **dataset):
    cfg = Config.fromfile(config_path(f'attention/{name}.py'))
    names = tmp_path / 'frames.txt'
    names.write_text('\n'.join(frames))
    cfg.test_dataloader.dataset.update(
        data_root=str(DAVIS), images='JPEGImages/480p', masks='Annotations/480p', names=str(names), **dataset
    )
    cfg.model.backbone.checkpoint = str(checkpoint)
    cfg.model.short_side = 64
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'out'), f'{name}{tmp_path.name}'
    return cfg


@torch.no_grad()
def attention_by_hand(weights, frame, blocks):
    """Resized to whole patches of 8 pixels, shorter side 64."""
    image = cv2.imread(str(DAVIS / f'JPEGImages/480p/{frame}.jpg'))[..., ::-1].copy()
    columns = int(64 * image.shape[1] / image.shape[0]) // 8 * 8
    pixels = torch.from_numpy(resize(image, 64, columns))[None]
    images = ViewPreprocessor()((pixels, torch.zeros(1), None))['images']
    return attention_of(TimmBackbone(checkpoint=str(weights)), images, blocks)


def figure_by_hand(frame):
    return torch.from_numpy(read_mask(DAVIS / f'Annotations/480p/{frame}.png')) > 0


@pytest.mark.parametrize('name', ['jaccard_folder', 'jaccard_voc12'])
def test_the_jaccard_config_gives_what_the_functions_give(name, weights, tmp_path):
    results = Runner.from_cfg(config(name, tmp_path, weights)).test()
    images, means = [], []
    for frame in FRAMES:
        maps = attention_by_hand(weights, frame, [-1])[0].class_maps()[0]
        figure = figure_by_hand(frame)
        images.append(image_jaccard(maps, figure[None]))
        means.append(figure_statistics(maps.mean(0, keepdim=True), figure))
    expected = summarise_jaccard(images)
    assert results['attention/jaccard_best_head'] == pytest.approx(100 * expected.best_head)
    assert results['attention/jaccard_best_fixed_head'] == pytest.approx(100 * expected.best_fixed_head)
    assert results['attention/jaccard_mean_map'] == pytest.approx(100 * expected.mean_map)
    assert results['attention/fixed_head'] == f'1.{expected.fixed_head}'
    assert results['attention/images'] == 3
    for key in ('figure_ground_auc', 'peak_in_figure', 'figure_mass'):
        assert results[f'attention/{key}'] == pytest.approx(100 * np.mean([float(one[key]) for one in means]), abs=1e-4)
    share = 100 * np.mean([float(figure_by_hand(frame).float().mean()) for frame in FRAMES])
    assert results['attention/figure_share'] == pytest.approx(share, abs=1e-4)
    assert results['attention/jaccard_whole_image'] == pytest.approx(share, abs=1e-4)


def test_blocks_threshold_and_size_change_the_result(weights, tmp_path):
    cfg = config('jaccard_folder', tmp_path, weights)
    plain = Runner.from_cfg(cfg).test()
    for number, (part, values) in enumerate([
        ('model', dict(blocks=[0])), ('test_evaluator', dict(threshold=0.3)), ('model', dict(short_side=96)),
        ('model', dict(precision='bf16')), ('model', dict(data_preprocessor=dict(
            type='dino_plugin.ViewPreprocessor', mean=[0.0] * 3, std=[255.0] * 3))),
    ]):  # fmt: skip
        other = config('jaccard_folder', tmp_path, weights)
        other[part].update(values)
        other.experiment_name += str(number)
        assert Runner.from_cfg(other).test()['attention/jaccard_mean_map'] != plain['attention/jaccard_mean_map']


def test_the_heads_config_gives_what_the_functions_give_and_writes_its_tables(weights, tmp_path):
    results = Runner.from_cfg(config('heads_folder', tmp_path, weights)).test()
    rows, pairs = [], []
    for frame in FRAMES:
        blocks = attention_by_hand(weights, frame, [0, 1])
        maps = torch.cat([block.class_maps()[0] for block in blocks])
        distances = torch.cat([attended_distance(block)[0] for block in blocks])
        found = map_statistics(maps) | figure_statistics(maps, figure_by_hand(frame))
        rows.append(found | dict(attended_distance=distances))
        pairs.append(1 - torch.nn.functional.cosine_similarity(maps.flatten(1)[:, None], maps.flatten(1)[None], dim=-1))
    with (tmp_path / 'out/heads.csv').open() as file:
        table = list(csv.DictReader(file))
    assert [row['head'] for row in table] == ['0.0', '0.1', '1.0', '1.1']
    for key in rows[0]:
        values = torch.stack([row[key] for row in rows]).numpy()
        assert results[f'heads/{key}'] == pytest.approx(100 * values.mean(), abs=1e-4)
        assert [float(row[key]) for row in table] == pytest.approx(values.mean(0), abs=2e-6)
        assert [float(row[f'{key}_std']) for row in table] == pytest.approx(values.std(0), abs=2e-6)
    with (tmp_path / 'out/head_distances.csv').open() as file:
        similar = list(csv.DictReader(file))
    expected = torch.stack(pairs).mean(0)
    assert results['heads/head_distance'] == pytest.approx(100 * float(expected.sum()) / 12, abs=1e-3)
    for place, row in enumerate(similar):
        assert [float(row[head]) for head in ('0.0', '0.1', '1.0', '1.1')] == pytest.approx(expected[place], abs=2e-6)
    with (tmp_path / 'out/head_clusters.csv').open() as file:
        clusters = list(csv.DictReader(file))
    assert [row['clusters'] for row in clusters] == ['2', '3']
    assert results['heads/silhouette_3'] == pytest.approx(float(clusters[1]['silhouette']), abs=1e-6)
    assert cv2.imread(str(tmp_path / 'out/head_clusters.png')).std() > 10
    assert results['heads/images'] == results['heads/with_figures'] == 3


def test_without_masks_heads_have_the_other_statistics_and_one_image_is_enough(weights, tmp_path):
    cfg = config('heads_folder', tmp_path, weights, FRAMES[:1])
    cfg.test_dataloader.dataset.masks = None
    cfg.model.attended_distances = False
    results = Runner.from_cfg(cfg).test()
    assert 'heads/entropy' in results and 'heads/figure_mass' not in results
    assert 'heads/attended_distance' not in results
    assert results['heads/with_figures'] == 0
    with (tmp_path / 'out/heads.csv').open() as file:
        assert all(float(row['entropy_std']) == 0 for row in csv.DictReader(file))


def test_the_threshold_of_the_heads_is_that_of_their_area(weights, tmp_path):
    cfg = config('heads_folder', tmp_path, weights, FRAMES[:1])
    areas = []
    for number, threshold in enumerate((0.3, 0.9)):
        cfg.test_evaluator.threshold, cfg.experiment_name = threshold, f'{tmp_path.name}{number}'
        areas.append(Runner.from_cfg(cfg).test()['heads/area'])
    assert areas[0] < areas[1]


def test_two_heads_have_no_clusters(weights, tmp_path):
    cfg = config('heads_folder', tmp_path, weights, FRAMES[:1])
    cfg.model.blocks = [-1]
    results = Runner.from_cfg(cfg).test()
    assert 'heads/cophenetic' not in results
    assert not (tmp_path / 'out/head_clusters.csv').exists() and (tmp_path / 'out/heads.csv').exists()


def test_jaccard_without_masks_is_refused(weights, tmp_path):
    cfg = config('jaccard_folder', tmp_path, weights)
    cfg.test_dataloader.dataset.masks = None
    with pytest.raises(ValueError, match=r'blackswan/00000 has no mask: give masks=FOLDER'):
        Runner.from_cfg(cfg).test()


def test_damaged_weights_are_refused(weights, tmp_path):
    cfg = config('jaccard_folder', tmp_path, weights, FRAMES[:1])
    runner = Runner.from_cfg(cfg)
    with torch.no_grad():
        runner.model.backbone.model.blocks[1].attn.qkv.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match='NaN'):
        runner.test()


def test_a_convnet_is_refused_before_any_image_is_read(tmp_path):
    cfg = config('jaccard_folder', tmp_path, 'none')
    cfg.model.backbone = dict(type='dino_plugin.TimmBackbone', model_name='resnet10t')
    with pytest.raises(ValueError, match='ResNet is a convolutional network'):
        Runner.from_cfg(cfg)


def test_an_unknown_precision_and_training_are_refused(weights, tmp_path):
    cfg = config('jaccard_folder', tmp_path, weights)
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match='has no loss'):
        runner.model(runner.test_loop.dataloader.dataset[0], mode='loss')
    cfg.model.precision, cfg.experiment_name = 'fp8', f'{tmp_path.name}again'
    with pytest.raises(ValueError, match='precision must be one of'):
        Runner.from_cfg(cfg)


def sample(labels, heads=('0.0', '0.1')):
    maps = torch.tensor([[[4.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 4.0]]])
    return dict(name='a', maps=maps, heads=list(heads), attended_distances=None, labels=np.array(labels, np.uint8))


def test_two_objects_void_and_an_image_without_objects_by_hand():
    metric = AttentionJaccardMetric(threshold=0.5)
    metric.process(None, [sample([[1, 0], [0, 2]]), sample([[0, 0], [0, 0]]), sample([[1, 255], [0, 0]])])
    found = metric.evaluate(3)
    # Half of the mass is in one patch of a head, 4 of 7, and in two patches of the mean map 2.5, 1, 1, 2.5.
    assert found['attention/jaccard_best_head'] == pytest.approx(100)
    assert found['attention/jaccard_best_fixed_head'] == pytest.approx(100 * (0.5 + 1) / 2)
    assert found['attention/fixed_head'] == '0.0'
    assert found['attention/jaccard_mean_map'] == pytest.approx(100 * 0.5)
    assert found['attention/jaccard_whole_image'] == pytest.approx(100 * (1 / 4 + 1 / 3) / 2)
    assert found['attention/images'] == 2
