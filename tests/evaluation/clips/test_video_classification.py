"""The configs of configs/video_classification/ train and test; tokens are kept; what the pictures show."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands.image_folders import use_folder
from dino_plugin.commands.runner import Runner
from dino_plugin.openmmlab.config_files import config_root

CONFIGS = sorted(config_root().glob('video_classification/*.py'))
CUSTOM = config_root() / 'video_classification/vit-small-p16_attentive_1xb8-20e_custom.py'
NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
DAVIS_NAMES = ('blackswan', 'breakdance', 'car-shadow', 'dog', 'libby', 'motocross-jump')


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('DINO_PLUGIN_CACHE', str(tmp_path / 'cache'))


@pytest.fixture(scope='module')
def films(tmp_path_factory) -> Path:
    """Class folders 0 and 1 with three films of frames each, lists of them, and one film for each name of DAVIS."""
    root = tmp_path_factory.mktemp('films')
    places = [f'{label}/film_g{number}_c1' for label in (0, 1) for number in range(3)] + [
        f'davis/{name}' for name in DAVIS_NAMES
    ]
    for seed, place in enumerate(places):
        (root / place).mkdir(parents=True)
        for number in range(40 if 'davis' in place else 6):
            frame = np.full((36, 48, 3), 40 * seed % 255, np.uint8)
            frame[:, number : number + 8] = 255
            cv2.imwrite(str(root / place / f'{number}.jpg'), frame)
    lines = [f'{place} {place[0]}' for place in places if 'davis' not in place]
    (root / 'labels').mkdir()
    (root / 'labels/labels.json').write_text('{"Moving something up": "0", "Holding something": "1"}')
    entries = []
    for number, line in enumerate(lines):
        (root / f'{number}.webm').symlink_to(root / line[:-2])  # a folder of frames in place of a video
        entries.append(dict(id=str(number), template=('Moving [something] up', 'Holding [something]')[int(line[-1])]))
    for name in ('train', 'validation'):
        (root / f'labels/{name}.json').write_text(json.dumps(entries))
    for name in ('trainlist01.txt', 'testlist01.txt'):
        (root / name).write_text('\n'.join(f'{line[:-1]}{int(line[-1]) + 1}' for line in lines))
    (root / 'classInd.txt').write_text('1 0\n2 1\n')
    classes = root / 'classes'
    classes.mkdir()
    for label in '01':
        (classes / label).symlink_to(root / label)
    return root


def shrunk(path: Path, films: Path, work_dir: Path) -> Config:
    """The same recipe with a tiny network on tiny films: one pass."""
    cfg = Config.fromfile(path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader, cfg.test_cfg.held_out_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        dataset = loader.dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        dataset.data_root = str(
            films if 'ann_file' in dataset else films / ('davis' if 'davis' in path.stem else 'classes')
        )
        for step in dataset.pipeline[:2]:
            step.update({'frames': 2, 'step': 1} if 'frames' in step else {'size': 32})
            if step.get('short_side'):
                step.short_side = 32
        if 'window' in dataset:
            dataset.update(window=3, stride=3)
    cfg.model.backbone.update(NETWORK)
    cfg.model.update(learning_rates=(1e-2, 1e-3), weight_decays=(0.1,), precision='fp32')
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.work_dir, cfg.experiment_name = str(work_dir), work_dir.name
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_and_tests(path, films, tmp_path):
    cfg = shrunk(path, films, tmp_path)
    runner = Runner.from_cfg(cfg)
    before = [probe.state_dict()['classifier.weight'].clone() for probe in runner.model.probes]
    runner.train()
    after = [probe.state_dict()['classifier.weight'] for probe in runner.model.probes]
    assert not any(map(torch.equal, before, after)), 'a probe did not move'
    found = runner.test()
    assert found['video/learning_rate'] in (1e-2, 1e-3) and 0 <= found['video/mean_class'] <= 100
    assert {'video/top1', 'video/held_out_top1', 'video/weight_decay'} <= found.keys()
    assert bool(list(tmp_path.glob('cache/features/*.npy'))) == ('video/top1' in found)


def custom(films: Path, work_dir: Path) -> Config:
    return shrunk(CUSTOM, films, work_dir)


def test_kept_tokens_change_nothing_and_the_backbone_does_not_run_again(films, tmp_path, monkeypatch):
    scores = []
    for name, gigabytes in (('kept', 1.0), ('computed', 0.0)):
        cfg = custom(films, tmp_path / name)
        cfg.custom_hooks[0].max_gigabytes = gigabytes
        runner = Runner.from_cfg(cfg)
        runner.train()
        scores.append(runner.test())
        lines = [json.loads(line) for line in Path(runner.log_dir, 'vis_data/scalars.json').read_text().splitlines()]
        scores[-1] |= {key: value for key, value in lines[-1].items() if 'loss' in key}
    kept, computed = scores
    assert kept == pytest.approx(computed, rel=0.01)  # tokens are kept in float16

    monkeypatch.setattr(TimmBackbone, 'forward', lambda *_: pytest.fail('the backbone ran'))
    again = Runner.from_cfg(custom(films, tmp_path / 'again'))
    again.train()
    assert again.test() == {name: value for name, value in kept.items() if name.startswith('video/')}
    other = custom(films, tmp_path / 'other')
    other.train_dataloader.dataset.dataset.dataset.pipeline[0].step = 2
    with pytest.raises(pytest.fail.Exception, match='the backbone ran'):
        Runner.from_cfg(other).train()


def test_labels_that_are_no_classes_are_refused_before_anything_is_computed(films, tmp_path, monkeypatch):
    monkeypatch.setattr(TimmBackbone, 'forward', lambda *_: pytest.fail('the backbone ran'))
    cfg = custom(films, tmp_path)
    cfg.model.num_classes = 1
    with pytest.raises(ValueError, match=r'model\.num_classes=1'):
        Runner.from_cfg(cfg).train()


def test_the_folders_of_the_images_option_are_counted(films):
    cfg = Config.fromfile(CUSTOM)
    (films / 'own').mkdir()
    for part in ('train', 'val'):
        (films / 'own' / part).symlink_to(films / 'classes')
    use_folder(cfg, str(films / 'own'))
    assert cfg.model.num_classes == 2
    assert cfg.test_cfg.held_out_dataloader.dataset.dataset.data_root == str(films / 'own/train')
    assert cfg.test_dataloader.dataset.data_root == str(films / 'own/val')


def test_pictures_show_a_strip_of_frames_above_the_attention(films, tmp_path):
    cfg = custom(films, tmp_path)
    cfg.default_hooks.visualization.update(draw=True)
    cfg.visualizer.save_dir = str(tmp_path / 'shown')
    Runner.from_cfg(cfg).test()
    pictures = sorted((tmp_path / 'shown').glob('*.png'))
    assert [picture.stem for picture in pictures] == [f'{n:05}_film_g{n % 3}_c1' for n in range(6)]
    sheet = cv2.imread(str(pictures[0]))
    assert sheet.shape[1] == 4 * 168 + 3 * 4  # four frames: two clips of two
    assert sheet.shape[0] > 2 * 168
