"""Images -> objects: sizes, features of a real network, the metric's numbers, tables and pictures."""

import csv

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.label_masks import write_mask
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.engine.evaluating import object_finder
from dino_plugin.engine.evaluating.object_finder import ObjectFinder
from dino_plugin.evaluation.discovery import find, metric
from dino_plugin.evaluation.discovery.drawing import draw_objects, picture_row
from dino_plugin.evaluation.discovery.features import PatchFeatures, patch_features
from dino_plugin.evaluation.discovery.find import Found, find_objects, refine_masks
from dino_plugin.evaluation.discovery.metric import DiscoveryMetric
from dino_plugin.evaluation.discovery.regions import boxes_of_patches, enlarged
from dino_plugin.evaluation.discovery.token_cut import token_cut
from dino_plugin.evaluation.objects.images import ObjectDataset
from dino_plugin.openmmlab.config_files import config_path

TINY = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return TimmBackbone(**TINY).eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three images of 60 x 90 pixels with a bright square, and its mask."""
    root = tmp_path_factory.mktemp('squares')
    for name in ('images', 'masks'):
        (root / name).mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        image = generator.integers(0, 60, (60, 90, 3), dtype=np.uint8)
        mask = np.zeros((60, 90), np.uint8)
        mask[16:40, 24 + 8 * number : 56 + 8 * number] = 1
        image[mask == 1] += np.array([180, 120, 40], np.uint8)
        cv2.imwrite(str(root / f'images/{number}.png'), image)
        write_mask(mask, root / f'masks/{number}.png')
    return root


def square_image():
    return np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


# --- patches and pixels -----------------------------------------------------------------------------------------------


def test_a_pixel_belongs_to_the_patch_that_its_centre_is_in():
    masks = np.array([[[True, False], [False, True]]])
    whole = enlarged(masks, (2.0, 3.0), (4, 6))
    assert np.array_equal(whole[0], np.kron(masks[0], np.ones((2, 3), bool)))
    cut = enlarged(masks, (2.0, 3.0), (3, 5))  # the last patches reach over the edge
    assert np.array_equal(cut, whole[:, :3, :5])
    assert enlarged(masks, (1.5, 1.5), (3, 3))[0].tolist() == [[True, False, False]] + [[False, True, True]] * 2


def test_boxes_of_patches_end_at_the_edge_of_the_image():
    masks = np.zeros((2, 3, 4), bool)
    masks[0, 1, 1:3] = masks[1, 2, 3] = True
    assert boxes_of_patches(masks, (14, 14), (40, 50)).tolist() == [[14, 14, 42, 28], [42, 28, 50, 40]]
    assert boxes_of_patches(masks, (10.5, 7), (30, 28)).tolist() == [[7, 10.5, 21, 21], [21, 21, 28, 30]]


# --- features ---------------------------------------------------------------------------------------------------------


def test_keys_queries_and_values_are_those_of_the_projection_of_the_block(backbone):
    image = square_image()[:32, :48]
    normalised = ViewPreprocessor()((torch.from_numpy(image)[None], torch.zeros(1), None))['images']
    for block in (0, -1):
        found = []
        module = backbone.model.blocks[block].attn.qkv
        handle = module.register_forward_hook(lambda _, inputs, output, found=found: found.append(output[0, 1:]))
        with torch.no_grad():
            backbone(normalised)
        handle.remove()
        expected = dict(zip(('queries', 'keys', 'values'), found[0].chunk(3, dim=-1)))
        for name, values in expected.items():
            features = patch_features(backbone, image, name, block)
            assert features.cell == (8, 8)
            assert torch.allclose(features.patches, values.unflatten(0, (4, 6)), atol=1e-5)


def test_patches_are_the_result_of_the_network_or_of_an_earlier_block(backbone):
    image = square_image()[:32, :48]
    normalised = ViewPreprocessor()((torch.from_numpy(image)[None], torch.zeros(1), None))['images']
    with torch.no_grad():
        last, first = backbone(normalised).patches[0], backbone.intermediates(normalised, [0])[0].patches[0]
    assert torch.equal(patch_features(backbone, image, 'patches').patches, last)
    assert torch.equal(patch_features(backbone, image, 'patches', block=0).patches, first)
    assert not torch.allclose(first, last, atol=0.01)


def test_images_keep_their_size_or_are_resized_to_whole_patches(backbone):
    own = patch_features(backbone, square_image())
    assert (own.patches.shape, own.cell) == ((8, 12, 32), (8, 8))  # 60 x 90 pixels, padded
    resized = patch_features(backbone, square_image(), short_side=32)
    assert (resized.patches.shape, resized.cell) == ((4, 6, 32), (15, 15))


def test_a_convolutional_network_has_patches_but_no_keys():
    network = TimmBackbone('resnet10t').eval()
    features = patch_features(network, square_image(), 'patches')
    assert (features.patches.shape, features.cell) == ((2, 3, 512), (30, 30))
    with pytest.raises(ValueError, match="convolutional network without keys: set features='patches'"):
        patch_features(network, square_image(), 'keys')


def test_unknown_features_blocks_and_methods_are_refused(backbone):
    with pytest.raises(ValueError, match=r"one of .*'keys'.*got 'key'"):
        patch_features(backbone, square_image(), 'key')
    with pytest.raises(ValueError, match='block 7 does not exist'):
        patch_features(backbone, square_image(), block=7)
    with pytest.raises(ValueError, match=r"one of .*'token_cut'.*got 'cut'"):
        ObjectFinder(dict(type='dino_plugin.TimmBackbone', **TINY), method='cut')
    with pytest.raises(ValueError, match=r"precision must be one of .*got 'fp8'"):
        ObjectFinder(dict(type='dino_plugin.TimmBackbone', **TINY), precision='fp8')


# --- objects ----------------------------------------------------------------------------------------------------------


def offset_patches():
    """A rectangle whose features differ little from the others: all cosines are near 1."""
    patches = torch.zeros(6, 9, 3) + torch.tensor([10.0, 0, 0])
    patches[2:5, 3:7] += torch.tensor([0, 1.0, 0])
    return patches


def test_centred_features_tell_patches_apart_that_are_all_alike():
    features = PatchFeatures(offset_patches(), (10, 10))
    plain, centred = (find_objects(features, (60, 90), centred=value) for value in (False, True))
    assert plain.whole
    assert plain.boxes.tolist() == [[0, 0, 90, 60]]
    assert not centred.whole
    assert centred.boxes.tolist() == [[30, 20, 70, 50]]
    assert np.array_equal(np.argwhere(centred.masks[0])[[0, -1]], [[20, 30], [49, 69]])


def test_options_reach_the_method_and_nothing_found_is_no_object():
    features = PatchFeatures(offset_patches(), (10, 10))
    assert not find_objects(features, (60, 90), 'token_cut', threshold=0.997).whole
    none = find_objects(features, (60, 90), 'mask_cut')
    assert (none.masks.shape, none.boxes.shape, none.whole) == ((0, 60, 90), (0, 4), True)
    soft, refined = refine_masks(np.zeros((60, 90, 3), np.uint8), none.masks)
    assert (soft.max(), len(refined)) == (0, 0)


def test_refined_masks_are_those_of_each_object_and_the_map_is_their_maximum(monkeypatch):
    monkeypatch.setattr(find, 'refine_mask', lambda image, mask: (0.5 * mask, ~mask))
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 0], masks[1, :, 3] = True, True
    soft, refined = refine_masks(np.zeros((4, 4, 3), np.uint8), masks)
    assert np.array_equal(soft, 0.5 * masks.any(axis=0))
    assert np.array_equal(refined, ~masks)


def test_an_object_is_tinted_and_framed_in_its_own_colour():
    image = np.full((40, 60, 3), 100, np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:15, 5:15] = masks[1, 20:30, 30:50] = True
    boxes = np.array([[5.0, 5, 15, 15], [30, 20, 50, 30]])
    shown = draw_objects(image, masks, boxes)
    assert np.array_equal(image, np.full((40, 60, 3), 100))
    assert len({tuple(shown[10, 10]), tuple(shown[25, 40]), tuple(shown[0, 0])}) == 3
    assert np.array_equal(draw_objects(image, None, None), image)
    framed = draw_objects(image, None, boxes)
    assert np.array_equal(framed[8:12, 8:12], image[8:12, 8:12])
    assert (framed[5, 5:15] != 100).any(axis=-1).all()
    assert (framed[4, 4:16] == 100).all() or (framed[16, 4:16] == 100).all()
    row = picture_row(image, (masks, boxes), masks[::-1], (None, boxes[:1]))
    assert [np.array_equal(picture, image) for picture in row] == [True, False, False, False]


# --- the metric -------------------------------------------------------------------------------------------------------


def samples(dataset, founds):
    return [dict(item=item, image=item.read_image(), found=found) for item, found in zip(dataset, founds)]


def exact(item, shift=0):
    masks = np.roll(item.read_masks(), shift, axis=2)
    return Found(masks, item.read_boxes() + [shift, 0, shift, 0], whole=False)


def test_the_metric_counts_as_by_hand_and_writes_table_and_sheet(folder, tmp_path):
    """Of three squares of 24 x 32 pixels one is found, one is 16 pixels beside, one image is found whole."""
    dataset = ObjectDataset(folder, images='images', masks='masks')
    whole = Found(np.ones((1, 60, 90), bool), np.array([[0.0, 0, 90, 60]]), whole=True)
    scores = DiscoveryMetric(num_pictures=2)
    scores.out_dir = str(tmp_path)
    scores.process(None, samples(dataset, [exact(dataset[0]), exact(dataset[1], 16), whole]))
    found = scores.evaluate(3)
    area, image = 24 * 32, 60 * 90
    ious = [1, 1 / 3, area / image]
    assert found['discovery/corloc'] == pytest.approx(100 / 3)
    assert found['discovery/corloc_whole_image'] == 0
    assert found['discovery/box_recall'] == found['discovery/box_precision'] == pytest.approx(100 / 3)
    assert found['discovery/iou'] == pytest.approx(100 * np.mean(ious))
    assert found['discovery/iou_whole_image'] == pytest.approx(100 * area / image)
    assert found['discovery/accuracy'] == pytest.approx(100 * np.mean([1, 1 - area / image, area / image]))
    f_whole = 1.3 * ious[2] / (0.3 * ious[2] + 1)
    assert found['discovery/max_f'] == pytest.approx(100 * np.mean([1, 0.5, f_whole]))
    assert found['discovery/without_cut'] == pytest.approx(100 / 3)
    assert (found['discovery/objects_per_image'], found['discovery/images']) == (1, 3)
    with (tmp_path / 'boxes.csv').open() as file:
        assert list(csv.reader(file))[1:] == [
            ['0', '24', '16', '56', '40'], ['1', '48', '16', '80', '40'], ['2', '0', '0', '90', '60'],
        ]  # fmt: skip
    assert cv2.imread(str(tmp_path / 'objects.png')).shape[0] == 2 * (18 + 160 + 4)


def test_the_order_of_images_does_not_matter(folder):
    dataset = ObjectDataset(folder, images='images', masks='masks')
    batch = samples(dataset, [exact(item, 5 * number) for number, item in enumerate(dataset)])
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        scores = DiscoveryMetric(num_pictures=0)
        scores.process(None, [batch[place] for place in order])
        results.append(scores.evaluate(3))
    assert results[0] == results[1]


def test_refinement_stands_beside_what_was_found(folder, monkeypatch):
    dataset = ObjectDataset(folder, images='images', masks='masks', indices=1)
    shifted = exact(dataset[0], 16)
    truth = dataset[0].read_masks()
    monkeypatch.setattr(metric, 'refine_masks', lambda image, masks: (0.7 * truth[0], truth))
    scores = DiscoveryMetric(refine=True)
    scores.process(None, samples(dataset, [shifted]))
    found = scores.evaluate(1)
    assert found['discovery/iou'] == pytest.approx(100 / 3)
    assert found['discovery/refined_iou'] == found['discovery/refined_accuracy'] == 100
    assert found['discovery/refined_max_f'] == 100


def test_images_without_objects_do_not_count_for_boxes_and_images_alone_are_drawn(folder, tmp_path):
    (tmp_path / 'masks').mkdir()
    write_mask(np.zeros((60, 90), np.uint8), tmp_path / 'masks/0.png')
    write_mask(ObjectDataset(folder, images='images', masks='masks')[1].read_labels(), tmp_path / 'masks/1.png')
    dataset = ObjectDataset(images=folder / 'images', masks=tmp_path / 'masks', indices=2)
    scores = DiscoveryMetric()
    scores.process(None, samples(dataset, [exact(dataset[1]), exact(dataset[1])]))
    found = scores.evaluate(2)
    assert found['discovery/corloc'] == 100
    assert found['discovery/images'] == 2
    alone = ObjectDataset(images=folder / 'images', indices=1)
    scores = DiscoveryMetric()
    scores.process(None, samples(alone, [exact(dataset[1])]))
    assert set(scores.evaluate(1)) == {f'discovery/{n}' for n in ('without_cut', 'objects_per_image', 'images')}


def test_it_says_what_to_do_where_nothing_can_be_told_apart(folder, monkeypatch):
    said = []
    monkeypatch.setattr(metric, 'print_log', lambda message, **_: said.append(message))
    dataset = ObjectDataset(folder, images='images', indices=1)
    none = Found(np.zeros((0, 60, 90), bool), np.zeros((0, 4)), whole=True)
    scores = DiscoveryMetric()
    scores.process(None, samples(dataset, [none]))
    assert scores.evaluate(1)['discovery/without_cut'] == 100
    assert 'model.centred=True' in said[0]


# --- configs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', sorted(path.name for path in config_path('discovery/lost_folder.py').parent.iterdir()))
def test_every_config_finds_objects_and_equals_the_functions(name, folder, backbone, tmp_path):
    torch.save(dict(state_dict=backbone.model.state_dict()), tmp_path / 'weights.pth')
    cfg = Config.fromfile(config_path(f'discovery/{name}'))
    cfg.model.backbone.update(TINY, checkpoint=str(tmp_path / 'weights.pth'))
    cfg.model.short_side = cfg.model.short_side and 48
    kind = dict(masks='masks') if 'saliency' not in name else dict(masks='bright', labels='bright')
    (folder / 'bright').mkdir(exist_ok=True)
    for item in ObjectDataset(folder, images='images', masks='masks'):
        write_mask(255 * item.read_labels(), folder / f'bright/{item.name}.png')
    dataset = dict(type='dino_plugin.ObjectDataset', data_root=str(folder), images='images', **kind)
    cfg.test_dataloader.dataset = dataset
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = tmp_path.name
    runner = Runner.from_cfg(cfg)
    found = runner.test()
    assert found['discovery/images'] == 3
    assert (tmp_path / 'work/objects.png').is_file()
    item = ObjectDataset(folder, images='images', masks='masks')[0]
    features = patch_features(backbone, item.read_image(), short_side=cfg.model.short_side)
    expected = find_objects(features, item.size, cfg.model.method, **cfg.model.method_options)
    with (tmp_path / 'work/boxes.csv').open() as file:
        written = [list(map(float, row[1:])) for row in csv.reader(file) if row[0] == '0']
    assert written == [[float(f'{edge:g}') for edge in box] for box in expected.boxes.tolist()]
    if cfg.test_evaluator.refine:
        assert 'discovery/refined_max_f' in found
    if cfg.model.method == 'token_cut':
        assert np.array_equal(
            expected.masks, enlarged(token_cut(features.patches).mask[None], features.cell, item.size)
        )


@pytest.mark.parametrize(
    ('option', 'seen'),
    [
        (dict(features='patches'), dict(features='patches')),
        (dict(block=0), dict(block=0)),
        (dict(short_side=32), dict(short_side=32)),
        (dict(precision='bf16'), dict(autocast_dtype=torch.bfloat16)),
        (
            dict(data_preprocessor=dict(type='dino_plugin.ViewPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)),
            dict(preprocessor=ViewPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)),
        ),
        (dict(centred=True), {}),
        (dict(method='lost', method_options=dict(num_candidates=3)), {}),
    ],
    ids=lambda option: next(iter(option), 'as usual'),
)
def test_each_argument_of_the_model_reaches_the_functions(option, seen, folder, monkeypatch):
    calls = []
    monkeypatch.setattr(
        object_finder, 'find_objects', lambda features, size, **options: calls.append((features, size, options))
    )
    item = ObjectDataset(folder, images='images')[0]
    torch.manual_seed(0)
    model = ObjectFinder(dict(type='dino_plugin.TimmBackbone', **TINY), **option).eval()
    assert model.test_step([item])[0]['item'] is item
    (features, size, options), usual = calls[0], patch_features(model.backbone, item.read_image())
    expected = patch_features(model.backbone, item.read_image(), **seen)
    assert torch.equal(features.patches, expected.patches)
    assert (features.cell, size) == (expected.cell, (60, 90))
    assert torch.equal(usual.patches, expected.patches) == (not seen)
    found = dict(method='token_cut', centred=False) | {
        key: option[key] for key in ('centred', 'method') if key in option
    }
    assert options == found | option.get('method_options', {})


def test_there_is_nothing_to_train(folder):
    model = ObjectFinder(dict(type='dino_plugin.TimmBackbone', **TINY))
    with pytest.raises(ValueError, match=r'no loss.*tools/test\.py'):
        model(ObjectDataset(folder, images='images')[0], mode='loss')
