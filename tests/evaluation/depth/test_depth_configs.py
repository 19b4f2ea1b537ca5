"""Every config of depth/ trains on files in its layout, validates, and is tested from its checkpoint."""

import os
import runpy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.evaluation.depth import range_hook
from dino_plugin.openmmlab.config_files import config_path, config_root

pytest.importorskip('mmseg', reason='mmsegmentation is not installed: pip install "dino_plugin[onedl]"')

NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=64, depth=12, embed_dim=32, num_heads=2)
CONFIGS = sorted(path.stem for path in (config_root() / 'depth').glob('*.py'))
# Rows and columns of the images and depths that a test sees, of those as in the files of each data set.
TESTED = {
    'nyu': ((480, 640), (480, 640)),
    'kitti': ((352, 1216), (352, 1216)),
    'sunrgbd': ((530, 730), (530, 730)),
    'custom': ((480, 640), (480, 640)),
    'livingroom': ((308, 411), (480, 640)),
}
NEAR, FAR = 2.0, 4.0  # metres above and below a diagonal, where the image is dark and bright


def write(folder, names, size=(480, 640), unit=0.001, rotated_bits=0):
    """The same image and depth in each pair of files."""
    rows, columns = np.indices(size) / np.reshape(size, (2, 1, 1))
    bright = rows + columns > 1
    stored = np.where(bright, FAR / unit, NEAR / unit).round().astype(np.uint16)
    contents = np.where(bright, 200, 50).astype(np.uint8), stored << rotated_bits | stored >> (16 - rotated_bits)
    for pair in names:
        for name, first, array in zip(pair, names[0], contents):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name == first:
                cv2.imwrite(str(folder / name), array if array.dtype == np.uint16 else np.stack([array] * 3, axis=2))
            else:
                os.link(folder / first, folder / name)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The folder `data` as the heads of the configs want it."""
    root = tmp_path_factory.mktemp('depth')
    write(root / 'data/nyu', [('room/rgb.png', 'room/depth.png')])
    write(root / 'data/kitti', [('raw/0.png', 'annotated/0.png')], size=(375, 1242), unit=1 / 256)
    write(root / 'data/sunrgbd', [('rgb.png', 'depth.png')], size=(530, 730), rotated_bits=3)
    for split in ('train', 'val'):
        write(root / f'data/depth/{split}', [('images/a.png', 'depths/a.png'), ('images/b.png', 'depths/b.png')])
    write(root / 'data/rgbd/livingroom', [(f'color/{number}.png', f'depth/{number}.png') for number in range(211)])
    for name, line in (
        ('nyu/nyu_{}.txt', '/room/rgb.png /room/depth.png 518.8'),
        ('kitti/kitti_eigen_{}.txt', '0.png 0.png 721.5\n0.png None 721.5'),
        ('sunrgbd/sunrgbd_{}.txt', 'rgb.png depth.png'),
    ):
        for split in ('train', 'test'):
            (root / 'data' / name.format(split)).write_text(f'{line}\n')
    return root


def config(name, work_dir):
    """The recipe with a tiny network for two steps, on two frames where it chooses frames."""
    cfg = Config.fromfile(config_path(f'depth/{name}.py'))
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{work_dir.parent.name}_{work_dir.name}'
    cfg.model.backbone.update(NETWORK, patch_size=14 if 'p14' in name else 16)
    cfg.model.decode_head.bins = 16
    if 'dpt' in name:
        cfg.model.decode_head.head.update(channels=16, post_process_channels=[8, 8, 8, 8])
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=min(2, loader.batch_size))
        if 'indices' in loader.dataset:
            loader.dataset.indices = loader.dataset.indices[:2]
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    return cfg


def sizes_of_fitting_pair(sample, least_agreement):
    """Sizes of image and depth, in which dark is near, bright is far, and nothing else is measured."""
    image, depth = sample['inputs'][0], sample['data_samples'].gt_depth_map.data[0]
    assert set(depth.unique().tolist()) <= {0, NEAR, FAR}
    if image.shape == depth.shape:
        fits = ((image > 100) == (depth == FAR))[depth > 0]
        assert fits.float().mean() >= least_agreement
    return tuple(image.shape), tuple(depth.shape)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains_and_tests(name, folder, tmp_path, monkeypatch, repository):
    monkeypatch.chdir(folder)
    runner = Runner.from_cfg(config(name, tmp_path / 'work'))
    before = {key: value.clone() for key, value in runner.model.named_parameters()}
    runner.train()
    moved = {key.split('.')[0] for key, value in runner.model.named_parameters() if not torch.equal(value, before[key])}
    assert 'decode_head' in moved and 'backbone' not in moved
    crop = tuple(runner.cfg.model.data_preprocessor.size)
    sample = runner.train_dataloader.dataset[0]
    assert sizes_of_fitting_pair(sample, least_agreement=0.98) == (crop, crop)  # a rotation moves some by one pixel
    assert len(list((tmp_path / 'work').glob('best_depth_rmse_iter_2.pth'))) == 1

    build_runner = runpy.run_path(str(repository / 'tools/test.py'))['build_runner']
    tested = build_runner(config(name, tmp_path / 'tested'), str(tmp_path / 'work/iter_2.pth'))
    found = tested.test()
    dataset = next(dataset for dataset in TESTED if f'_{dataset}' in name)
    assert sizes_of_fitting_pair(tested.test_dataloader.dataset[0], least_agreement=1) == TESTED[dataset]
    assert 0 < found['depth/rmse'] < runner.model.decode_head.bins.max()
    if dataset != 'sunrgbd':  # which is validated on NYU
        assert found['depth/rmse'] == pytest.approx(runner.message_hub.get_scalar('val/depth/rmse').current())


def test_depths_beyond_the_range_are_told_or_refused_before_the_first_step(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    said = []
    monkeypatch.setattr(range_hook, 'print_log', lambda text, **_: said.append(text))

    def training(number, **ranges):
        cfg = config('vit-small-p16_linear_1xb8-2k_custom', tmp_path / str(number))
        for part, max_depth in ranges.items():
            cfg.merge_from_dict({f'{part}.max_depth': max_depth})
        runner = Runner.from_cfg(cfg)
        monkeypatch.setattr(runner.model, 'train_step', lambda *_, **__: pytest.fail('a step was made'))
        return runner

    for part in ('model.decode_head', 'val_evaluator'):
        with pytest.raises(ValueError, match=rf'None of .* 0\.001 and 1\.5 m, the range of {part}: they are 2 to 4 m'):
            training(part, **{part: 1.5}).train()
    assert not said
    with pytest.raises(pytest.fail.Exception, match='a step was made'):
        training('half', **{'model.decode_head': 3.0}).train()
    assert len(said) == 1 and said[0].startswith('Only 50% of the depths of train_dataloader')
    assert 'LoadDepth(unit=...)' in said[0]
    cfg = config('vit-small-p16_linear_1xb8-2k_custom', tmp_path / 'test')
    cfg.test_evaluator.max_depth = 1.5
    with pytest.raises(ValueError, match=r'of test_dataloader .* the range of test_evaluator'):
        Runner.from_cfg(cfg).test()


def test_losses_are_those_of_the_protocols_and_of_what_was_measured():
    losses = {name: set(Config.fromfile(config_path(f'depth/{name}.py')).model.decode_head.losses) for name in CONFIGS}
    dinov3s = {name for name in CONFIGS if '_linear_8xb2' in name}
    assert {name for name, names in losses.items() if names == {'scale_invariant'}} == dinov3s
    assert all(losses[name] == {'scale_invariant', 'gradient'} for name in set(CONFIGS) - dinov3s)
