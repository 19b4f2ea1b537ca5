"""Depth: errors, losses and bins against hand-computed cases and slow references; files that do not fit."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from PIL import Image

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.evaluation.depth import data, metric
from dino_plugin.evaluation.depth.bins import DepthFromBins, MapsWithoutReadout
from dino_plugin.evaluation.depth.data import DepthDataset
from dino_plugin.evaluation.depth.errors import aligned, counted_pixels, depth_errors
from dino_plugin.evaluation.depth.losses import LogGradientLoss, ScaleInvariantLoss
from dino_plugin.evaluation.depth.metric import DepthMetric
from dino_plugin.evaluation.depth.pipeline_steps import KeepWindow, LoadDepth, read_depth

CONFIGS = Path(__file__).parents[3] / 'configs'


def test_errors_of_two_pixels_are_those_computed_by_hand():
    found = depth_errors(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]))
    expected = dict(
        d1=0.5, d2=0.5, d3=0.5, abs_rel=0.25, sq_rel=0.25, rmse=math.sqrt(0.5), rmse_log=math.log(2) / math.sqrt(2),
        log10=math.log10(2) / 2, silog=100 * math.log(2) / 2,
    )  # fmt: skip
    assert found == pytest.approx(expected)
    assert depth_errors(torch.tensor([1.6]), torch.tensor([1.0]))['d2'] == 0  # 1.5625 < 1.6 < 1.953
    assert depth_errors(torch.tensor([1.6]), torch.tensor([1.0]))['d3'] == 1


def test_silog_forgets_the_scale_and_alignment_finds_it():
    torch.manual_seed(0)
    truth, predicted = torch.rand(50) + 1, torch.rand(50) + 1
    assert depth_errors(3 * predicted, truth)['silog'] == pytest.approx(depth_errors(predicted, truth)['silog'])
    assert torch.allclose(aligned(truth / 3, truth, 'scale'), truth)
    assert torch.allclose(aligned((truth - 0.5) / 3, truth, 'scale and shift'), truth, atol=1e-5)
    assert not torch.allclose(aligned((truth - 0.5) / 3, truth, 'scale'), truth, atol=1e-2)


def test_crops_are_those_of_the_protocols_and_follow_the_size():
    depth = torch.ones(480, 640)
    expected = torch.zeros(480, 640, dtype=torch.bool)
    expected[45:471, 41:601] = True
    assert torch.equal(counted_pixels(depth, 0.1, 10, 'eigen'), expected)
    assert counted_pixels(torch.ones(960, 1280), 0.1, 10, 'eigen').sum() == 4 * expected.sum()
    rows, columns = counted_pixels(torch.ones(352, 1216), 0.1, 10, 'garg').nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (143, 348, 43, 1171)
    assert counted_pixels(torch.tensor([[0.0, 5.0, 12.0]]), 0.1, 10, None).tolist() == [[False, True, False]]


@pytest.fixture
def said(monkeypatch):
    texts = []
    for module in (data, metric):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: texts.append(text))
    return texts


def sample(predicted, truth):
    return dict(
        pred_depth_map=dict(data=torch.as_tensor(predicted)[None]), gt_depth_map=dict(data=torch.as_tensor(truth)[None])
    )


def test_the_metric_averages_images_and_clamps_predictions(said):
    depth = DepthMetric(max_depth=10.0)
    images = [sample([[0.0, 2.0]], [[2.0, 2.0]]), sample([[4.0, 30.0]], [[4.0, 0.0]]), sample([[1.0]], [[0.0]])]
    depth.process({}, images)
    found = depth.compute_metrics(depth.results)
    assert found['abs_rel'] == pytest.approx((2 - 0.001) / 2 / 2 / 2)
    assert found['d1'] == 0.75
    assert '1 of 3 images have no pixel' in said[0]


def test_a_wrong_unit_and_no_depth_at_all_are_told(said):
    depth = DepthMetric()
    depth.process({}, [sample([[2.0]], [[0.002]])])
    depth.compute_metrics(depth.results)
    assert '1e+03 times the truth: is the unit' in said[-1]
    with pytest.raises(ValueError, match=r'No image has a pixel between 0\.001 and 10\.0 m'):
        depth.compute_metrics([dict(left_out='a.png')])
    with pytest.raises(ValueError, match="crop='nyu' is unknown"):
        DepthMetric(crop='nyu')


def maps(seed=0, rows=21, columns=30):
    torch.manual_seed(seed)
    predicted, truth = torch.rand(2, 2, 1, rows, columns) + 0.5
    truth[torch.rand_like(truth) < 0.3] = 0
    return predicted.requires_grad_(), truth


def test_the_scale_invariant_loss_is_its_equation():
    predicted, truth = maps()
    errors = [
        math.log(p + 0.001) - math.log(t + 0.001)
        for p, t in zip(predicted.flatten().tolist(), truth.flatten().tolist())
        if t > 0
    ]
    mean = sum(errors) / len(errors)
    variance = sum((error - mean) ** 2 for error in errors) / len(errors)
    loss = ScaleInvariantLoss(weight=2.0, warm_up=1)
    assert loss(predicted, truth).item() == pytest.approx(2 * math.sqrt(0.15) * abs(mean), rel=1e-4)
    assert loss(predicted, truth).item() == pytest.approx(2 * math.sqrt(variance + 0.15 * mean**2), rel=1e-4)
    assert loss(predicted, torch.zeros_like(truth)).item() == pytest.approx(0, abs=1e-5)
    loss(truth.clone().requires_grad_(), truth).backward()


def test_the_gradient_loss_is_a_loop_over_pixels():
    predicted, truth = maps()
    expected = 0.0
    for step in (1, 2, 4, 8):
        g = (predicted + 0.001).log() - (truth + 0.001).log()
        g, valid = g[..., ::step, ::step], truth[..., ::step, ::step] > 0
        for down, right in ((2, 0), (0, 2)):
            differences = [
                abs(g[i, 0, r + down, c + right] - g[i, 0, r, c]).item()
                for i in range(2)
                for r in range(g.shape[2] - down)
                for c in range(g.shape[3] - right)
                if valid[i, 0, r, c] and valid[i, 0, r + down, c + right]
            ]
            expected += sum(differences) / max(1, len(differences))
    assert LogGradientLoss(weight=0.5)(predicted, truth).item() == pytest.approx(0.5 * expected, rel=1e-4)
    assert LogGradientLoss()(3 * truth, truth).item() == pytest.approx(0, abs=2e-2)  # a factor has no edges


class Scores(torch.nn.Module):
    align_corners = False

    def __init__(self, num_classes):
        super().__init__()

    def forward(self, maps):
        return maps[0]


@pytest.mark.parametrize(('spacing', 'expected'), [('uniform', [1, 4.5, 8]), ('log', [1, math.sqrt(8), 8])])
def test_depth_is_the_mean_of_the_bins(spacing, expected):
    def depth(scores, weighting):
        head = DepthFromBins(
            dict(type=Scores), {}, bins=3, min_depth=1.0, max_depth=8.0, spacing=spacing, weighting=weighting
        )
        return head([torch.tensor(scores).reshape(1, 3, 1, 1)]).item()

    for weighting in ('linear', 'softmax', 'sigmoid'):
        assert depth([0.0, 0.0, 0.0], weighting) == pytest.approx(sum(expected) / 3)
    assert depth([-5.0, 0.9, -5.0], 'linear') == pytest.approx((0.1 * expected[0] + expected[1] + 0.8) / 1.2)
    assert depth([0.0, 0.0, 50.0], 'softmax') == pytest.approx(8)
    with pytest.raises(ValueError, match='0 < min_depth < max_depth'):
        DepthFromBins(dict(type=Scores), {}, min_depth=3.0, max_depth=2.0)


def write_pair(root, name, depth, size=(6, 8)):
    for folder in ('images', 'depths'):
        (root / folder).mkdir(exist_ok=True, parents=True)
    cv2.imwrite(str(root / 'images' / f'{name}.jpg'), np.full((*size, 3), 90, np.uint8))
    if depth.dtype == np.uint16:
        cv2.imwrite(str(root / 'depths' / f'{name}.png'), depth)
    else:
        np.save(root / 'depths' / f'{name}.npy', depth)


def test_depths_of_files_are_metres_and_what_was_not_measured_is_zero(tmp_path):
    stored = np.full((6, 8), 1500, np.uint16)
    stored[0, :2] = 0, 65535
    write_pair(tmp_path, 'a', stored)
    write_pair(tmp_path, 'b', np.array([[1.5, np.nan], [np.inf, -1]], np.float32))
    depth = read_depth(tmp_path / 'depths/a.png', 0.001)
    assert depth[0, 0] == 0 and depth[0, 1] == pytest.approx(65.535) and depth[1, 1] == pytest.approx(1.5)
    assert read_depth(tmp_path / 'depths/b.npy', 1.0).tolist() == [[1.5, 0], [0, 0]]
    cv2.imwrite(str(tmp_path / 'depths/a.png'), stored << 3 | stored >> 13)
    assert np.array_equal(read_depth(tmp_path / 'depths/a.png', 0.001, rotated_bits=3), depth)


def test_pairs_are_found_by_name_or_by_a_list(tmp_path):
    near, far = (np.full((6, 8), value, np.uint16) for value in (1000, 4000))
    write_pair(tmp_path, 'a', near)
    write_pair(tmp_path, 'b', far.astype(np.float32))
    steps = [dict(type=LoadDepth, unit=0.001)]
    dataset = DepthDataset(tmp_path, pipeline=steps)
    assert [item['gt_depth_map'].mean() for item in dataset] == pytest.approx([1, 4])
    (tmp_path / 'list.txt').write_text('/b.jpg b.npy 518.8\na.jpg None 518.8\na.jpg a.png\n')
    assert [Path(item['img_path']).name for item in DepthDataset(tmp_path, pairs='list.txt', pipeline=steps)] == [
        'b.jpg', 'a.jpg'
    ]  # fmt: skip
    assert len(DepthDataset(tmp_path, indices=1, pipeline=steps)) == 1
    (info,) = DepthDataset(tmp_path, indices=1, max_pixels=48, pipeline=[])
    assert LoadDepth().transform(dict(info))['gt_depth_map'].shape == (6, 8)
    with pytest.raises(UndecodableImageError, match='47'):
        LoadDepth().transform(dict(info, max_pixels=47))


def test_files_that_do_not_fit_are_named_before_training(tmp_path, said):
    steps = [dict(type=LoadDepth)]
    write_pair(tmp_path, 'a', np.full((6, 7), 1000, np.uint16))
    with pytest.raises(ValueError, match=r'a\.png has 7x6 pixels, its image .*a.jpg has 8x6'):
        DepthDataset(tmp_path, pipeline=steps)
    files = dict(img_path=str(tmp_path / 'images/a.jpg'), depth_map_path=str(tmp_path / 'depths/a.png'))
    with pytest.raises(ValueError, match=r'a\.png has 7x6 pixels'):  # one of those that are not read before training
        LoadDepth().transform(dict(files, ori_shape=(6, 8), seg_fields=[]))
    write_pair(tmp_path, 'a', np.zeros((6, 8), np.uint16))
    with pytest.raises(ValueError, match='None of 1 depths that were read has a measured pixel'):
        DepthDataset(tmp_path, pipeline=steps)
    write_pair(tmp_path, 'a', np.full((6, 8), 2, np.uint16))
    DepthDataset(tmp_path, pipeline=steps)
    assert 'median depth is 0.002 m with unit=0.001' in said[-1]
    (tmp_path / 'depths/a.png').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 1 depths'):
        DepthDataset(tmp_path, pipeline=steps)
    with pytest.raises(FileNotFoundError, match=r'is no folder\. Correct data_root'):
        DepthDataset(tmp_path, depths='depth')


@pytest.mark.parametrize('ending', ['.png', '.npy', '.tif'])
def test_each_size_is_compared_before_training_by_headers_and_some_depths_are_read(tmp_path, ending, monkeypatch):
    steps = [dict(type=LoadDepth)]
    for number in range(99):
        write_pair(tmp_path, f'{number}', np.full((6, 8), 1000, np.uint16 if ending == '.png' else np.float32))
        if ending == '.tif':
            (tmp_path / f'depths/{number}.npy').unlink()
            tifffile.imwrite(tmp_path / f'depths/{number}.tif', np.full((6, 8), 1000, np.float32))
    read = []
    monkeypatch.setattr(data, 'read_depth', lambda path, *_: read.append(path) or read_depth(path, 0.001))
    DepthDataset(tmp_path, pipeline=steps)
    assert len(set(read)) == 50
    other = next(tmp_path.glob(f'depths/97{ending}'))  # it is not among the fifty
    assert str(other) not in read
    cv2.imwrite(str(tmp_path / 'images/97.jpg'), np.full((8, 6, 3), 90, np.uint8))
    with pytest.raises(ValueError, match=rf'97\{ending} has 8x6 pixels, its image .*97.jpg has 6x8'):
        DepthDataset(tmp_path, pipeline=steps)
    assert len(DepthDataset(tmp_path, pipeline=steps, indices=97)) == 97


def test_the_size_of_an_image_is_that_of_its_loader(tmp_path):
    """A photograph that its EXIF data turn, with a depth of the pixels as stored."""
    pytest.importorskip('mmcv', reason='mmcv is not installed: pip install "dino_plugin[onedl]"')
    write_pair(tmp_path, 'a', np.full((6, 8), 1000, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 6)).save(tmp_path / 'images/a.jpg', exif=exif)
    plain, turning = (
        [dict(type='mmcv.LoadImageFromFile', color_type=kind), dict(type=LoadDepth)]
        for kind in ('color_ignore_orientation', 'color')
    )
    assert DepthDataset(tmp_path, pipeline=plain)[0]['img'].shape == (6, 8, 3)
    with pytest.raises(ValueError, match=r'its image .* has 6x8'):
        DepthDataset(tmp_path, pipeline=turning)


def test_a_window_is_cut_from_image_and_depth():
    image = np.arange(60).reshape(6, 10)
    info = dict(img=image, gt_depth_map=image.copy(), seg_fields=['gt_depth_map'])
    found = KeepWindow(rows=(-2, None), columns=4).transform(info)
    assert found['img'].tolist() == image[4:, 3:7].tolist() == found['gt_depth_map'].tolist()
    assert found['ori_shape'] == (2, 4)


@pytest.mark.parametrize('decoder', ['linear', 'linear4', 'dpt'])
def test_each_decoder_learns_on_mmsegmentations_estimator(decoder):
    pytest.importorskip('mmseg', reason='mmsegmentation is not installed: pip install "dino_plugin[onedl]"')
    from mmseg.structures import SegDataSample

    from dino_plugin.registry import MODELS

    cfg = Config.fromfile(CONFIGS / f'depth/vit-small-p16_{decoder}_8xb2-38k_nyu-416x544.py').model
    cfg.backbone.update(model_name='vit_tiny_patch16_224', img_size=64, depth=4, embed_dim=32, num_heads=2)
    if decoder != 'linear':
        cfg.backbone.out_indices = (0, 1, 2, 3)
    if decoder == 'dpt':
        cfg.decode_head.head.update(norm_cfg=dict(type='BN'), channels=16, post_process_channels=[8, 8, 8, 8])
    cfg.data_preprocessor.size = (64, 64)
    cfg.decode_head.losses.scale_invariant.warm_up = 0  # in which nothing but the scale is learnt
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg, _scope_='mmseg'))
    model.train()
    near_and_far = torch.full((1, 64, 64), 2.0)
    near_and_far[:, :, 32:] = 6.0
    image = torch.zeros(3, 64, 64)
    image[:, :, 32:] = 255
    truth = SegDataSample(gt_depth_map=PixelData(data=near_and_far))
    truth.set_metainfo(dict(img_shape=(64, 64), ori_shape=(64, 64)))
    batch = model.data_preprocessor(dict(inputs=[image, image], data_samples=[truth, truth]), training=True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.03)
    for _ in range(40):
        sum(model(**batch, mode='loss').values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    found = model.predict(batch['inputs'][:1], [truth])[0].pred_depth_map.data[0]
    assert found.shape == (64, 64)
    assert (found[:, :24].mean() - 2).abs() < 1 and (found[:, 40:].mean() - 6).abs() < 1
    mirrored = model.predict(batch['inputs'][:1].flip(3), [truth])[0].pred_depth_map.data[0]
    assert torch.allclose(mirrored.flip(1), found, atol=1e-4)


def test_the_neck_pairs_each_map_with_nothing():
    assert [pair[1] for pair in MapsWithoutReadout()([torch.zeros(1), torch.ones(1)])] == [None, None]
