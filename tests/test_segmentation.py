"""Segmentation by mmsegmentation's own Runner, on real frames and masks in the layout of each dataset."""

import json
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from damaged_images import claiming
from fresh_process import run_in_fresh_process
from image_folders import forbid
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image, features

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands import smoke
from dino_plugin.openmmlab.config_files import config_path, config_root

mmseg = pytest.importorskip('mmseg', reason='mmsegmentation is not installed')

CONFIGS = sorted(f'segmentation/{path.name}' for path in (config_root() / 'segmentation').glob('*.py'))
LINEAR = 'segmentation/vit-small-p16_linear_1xb16-2k_camvid-352x352.py'
UPERNET = 'segmentation/vit-small-p16_upernet_1xb16-2k_camvid-352x352.py'
NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=64, depth=4, num_heads=2)
NETWORKS = {
    'width 192': {**NETWORK, 'embed_dim': 192},
    'width 448': {**NETWORK, 'embed_dim': 448, 'num_heads': 7},
    'convnet': dict(model_name='resnet10t'),
}
SIZE = (96, 54)
# Folders of images and masks by dataset.
LAYOUTS = {
    'ade20k': [('images/training', 'annotations/training'), ('images/validation', 'annotations/validation')],
    'coco-stuff164k': [('images/train2017', 'annotations/train2017'), ('images/val2017', 'annotations/val2017')],
    'cityscapes': [('leftImg8bit/train', 'gtFine/train'), ('leftImg8bit/val', 'gtFine/val')],
    'camvid': [(f'img_dir/{split}', f'ann_dir/{split}') for split in ('train', 'val', 'test')],
    'davis': [('JPEGImages/480p', 'Annotations/480p')],
    'voc12aug': [('JPEGImages', 'SegmentationClass'), ('JPEGImages', 'SegmentationClassAug')],
}
SUFFIXES = {
    'coco-stuff164k': ('.jpg', '_labelTrainIds.png'),
    'cityscapes': ('_leftImg8bit.png', '_gtFine_labelTrainIds.png'),
}


@pytest.fixture(scope='session')
def frames(repository: Path) -> list[tuple[Path, Path]]:
    """Three frames of a bundled clip, each with its mask."""
    clip = repository / 'tests/data/davis'
    return [
        (clip / f'JPEGImages/480p/blackswan/{name}.jpg', clip / f'Annotations/480p/blackswan/{name}.png')
        for name in ('00000', '00024', '00048')
    ]


@pytest.fixture
def data_root(tmp_path, frames):
    """A function that lays the frames out as a dataset's; masks say 1 on the swan and 0 elsewhere."""

    def lay_out(dataset: str) -> Path:
        root = tmp_path / dataset
        image_suffix, mask_suffix = SUFFIXES.get(dataset, ('.jpg', '.png'))
        for images, masks in LAYOUTS[dataset]:
            (root / images).mkdir(parents=True, exist_ok=True)
            (root / masks).mkdir(parents=True, exist_ok=True)
            for image, mask in frames:
                Image.open(image).resize(SIZE).save(root / images / f'{image.stem}{image_suffix}')
                Image.open(mask).resize(SIZE, Image.Resampling.NEAREST).save(root / masks / f'{mask.stem}{mask_suffix}')
        lists = root / 'ImageSets/Segmentation'
        lists.mkdir(parents=True)
        for split in ('train', 'aug', 'val'):
            (lists / f'{split}.txt').write_text('\n'.join(image.stem for image, _ in frames))
        return root

    return lay_out


def datasets_of(loader):
    """The configs of mmsegmentation's datasets inside a loader."""
    outer = loader.dataset
    return [part.dataset for part in outer.get('datasets', [outer])]


def shrink(name: str | Path, root: Path, work_dir: Path, steps: int = 2, network: dict = NETWORK) -> Config:
    """The same config as ``--smoke`` makes it, with this network, on these frames."""
    cfg = Config.fromfile(name if isinstance(name, Path) else config_path(name))
    backbone = dict(cfg.model.backbone)
    smoke.shrink(cfg, batch_size=2, steps=steps)
    cfg.model.backbone = {**backbone, **network}
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        for dataset in datasets_of(loader):
            dataset.data_root = str(root)
            dataset.pop('indices', None)
    for tested, validated in zip(datasets_of(cfg.test_dataloader), datasets_of(cfg.val_dataloader)):
        tested.pipeline = validated.pipeline
    cfg.default_hooks.checkpoint.pop('save_best')  # it would write every checkpoint twice
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{Path(name).stem}_{work_dir.name}'
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains_its_head_and_leaves_a_frozen_backbone_alone(name, data_root, tmp_path):
    dataset = next(key for key in LAYOUTS if f'_{key}-' in name)
    runner = Runner.from_cfg(shrink(name, data_root(dataset), tmp_path / 'work'))
    before = {key: value.clone() for key, value in runner.model.named_parameters()}
    runner.train()
    after = dict(runner.model.named_parameters())
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert any(key.startswith('decode_head.') for key in moved)
    assert any(key.startswith('backbone.') for key in moved) == (not runner.model.backbone.frozen)
    assert runner.message_hub.get_scalar('val/mIoU').current() >= 0
    assert runner.model.num_classes == len(runner.train_dataloader.dataset.metainfo['classes'])


def test_mmsegmentations_runner_alone_runs_a_config(data_root, tmp_path):
    """What mmsegmentation's tools/train.py does; nothing of dino_plugin is imported by the caller."""
    shrink(LINEAR, data_root('camvid'), tmp_path / 'work').dump(tmp_path / 'config.py')
    script = (
        'import sys\n'
        'from mmengine.config import Config\n'
        'from mmengine.runner import Runner\n'
        f'runner = Runner.from_cfg(Config.fromfile({str(tmp_path / "config.py")!r}))\n'
        "assert type(runner.model).__module__.startswith('mmseg.')\n"
        'runner.train()\n'
    )
    run_in_fresh_process(script, tmp_path)
    assert (tmp_path / 'work/iter_2.pth').is_file()


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('head', ['linear', 'linear-ms', 'upernet', 'segmenter'])
def test_who_names_a_checkpoint_names_nothing_else(head, network, data_root, tmp_path, repository):
    """Its network may be of any width; to test the segmenter not even that file is needed."""
    name = f'segmentation/vit-small-p16_{head}_1xb16-2k_camvid-352x352.py'
    root, origin = data_root('camvid'), tmp_path / 'pretrained.pth'
    pretrained = TimmBackbone(**NETWORKS[network])
    torch.save({'state_dict': pretrained.model.state_dict(), 'meta': {'backbone': pretrained.description}}, origin)

    def config(work_dir: str, **backbone) -> Config:
        cfg = shrink(name, root, tmp_path / work_dir, network=backbone)
        if head == 'upernet' and network == 'convnet':
            cfg.model.neck = None  # its maps are a pyramid already
        return cfg

    cfg = config('work', checkpoint=str(origin))
    runner = Runner.from_cfg(cfg)
    loaded = runner.model.backbone.backbone.model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in pretrained.model.state_dict().items())
    runner.train()
    origin.unlink()
    build_runner = runpy.run_path(str(repository / 'tools/test.py'))['build_runner']
    tested = build_runner(config('tested'), str(tmp_path / 'work/iter_2.pth'))
    assert tested.test()['mIoU'] == pytest.approx(runner.message_hub.get_scalar('val/mIoU').current())
    assert type(tested.model).__name__ == 'EncoderDecoder'
    assert all(map(torch.equal, tested.model.parameters(), runner.model.parameters()))


def test_the_pyramid_neck_of_a_convolutional_network_is_refused_with_the_option(data_root, tmp_path):
    cfg = shrink(UPERNET, data_root('camvid'), tmp_path / 'work', network=NETWORKS['convnet'])
    with pytest.raises(ValueError, match=r"'width' needs maps of one width.*--cfg-options model\.neck=None"):
        Runner.from_cfg(cfg)


def test_numbers_in_place_of_the_texts_win(data_root, tmp_path):
    cfg = shrink('segmentation/vit-small-p16_segmenter_1xb16-2k_camvid-352x352.py', data_root('camvid'), tmp_path)
    cfg.model.decode_head.update(embed_dims=96, num_heads=3)
    model = Runner.from_cfg(cfg).model
    assert (model.decode_head.dec_proj.in_features, model.decode_head.dec_proj.out_features) == (64, 96)
    assert model.decode_head.layers[0].attn.num_heads == 3


def test_mmsegmentations_own_tools_train_and_test(data_root, tmp_path, monkeypatch):
    tools = Path(mmseg.__file__).parent / '.mim/tools'
    if not tools.is_dir():
        pytest.skip('this build of mmsegmentation brings no tools')
    cfg = shrink(LINEAR, data_root('camvid'), tmp_path / 'work')
    cfg.dump(tmp_path / 'config.py')
    runners, results = [], []
    monkeypatch.setattr(Runner, 'train', lambda self, train=Runner.train: runners.append(self) or train(self))
    monkeypatch.setattr(Runner, 'test', lambda self, test=Runner.test: results.append(test(self)))
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path / 'config.py')])
    runpy.run_path(str(tools / 'train.py'), run_name='__main__')
    weights = {'state_dict': runners[0].model.state_dict(), 'meta': {}}
    torch.save(weights, tmp_path / 'weights.pth')
    options = ['--work-dir', str(tmp_path / 'test'), '--cfg-options', f'experiment_name={tmp_path.name}_test']
    monkeypatch.setattr(sys, 'argv', ['test.py', str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth'), *options])
    runpy.run_path(str(tools / 'test.py'), run_name='__main__')
    assert runners[0].iter == 2
    assert results[0]['mIoU'] == pytest.approx(runners[0].message_hub.get_scalar('val/mIoU').current())


def test_test_time_augmentation_builds_the_model_of_a_config(data_root, tmp_path):
    cfg = shrink(LINEAR, data_root('camvid'), tmp_path / 'work')
    with DefaultScope.overwrite_default_scope('mmseg'):
        wrapped = MODELS.build(dict(cfg.tta_model, module=cfg.model))
    assert type(wrapped.module).__name__ == 'EncoderDecoder'
    assert wrapped.module.decode_head.in_channels == 64


def test_the_example_for_ones_own_images_runs(data_root, tmp_path, repository):
    readme = (repository / 'configs/segmentation/README.md').read_text()
    example = re.search(r'```python\n(.*?)```', readme, flags=re.DOTALL)[1]
    root = data_root('ade20k')
    for new, old in (('train', 'images/training'), ('val', 'images/validation')):
        (root / old).rename(root / new)
        (root / old.replace('images', 'annotations')).rename(root / f'{new}_masks')
    own = tmp_path / 'own.py'
    own.write_text(example.replace("'./", f"'{config_root()}/segmentation/"))
    runner = Runner.from_cfg(shrink(own, root, tmp_path / 'work'))
    runner.train()
    assert runner.model.num_classes == 2
    assert runner.train_dataloader.dataset.metainfo['classes'] == ('background', 'cell')


def test_a_probe_learns_and_a_checkpoint_of_it_scores_the_same(data_root, tmp_path):
    root = data_root('camvid')
    cfg = shrink(LINEAR, root, tmp_path / 'work', steps=200)  # with fewer, some seeds stay at all background
    cfg.param_scheduler = None
    cfg.optim_wrapper.optimizer.lr = 1e-2
    runner = Runner.from_cfg(cfg)
    runner.train()
    trained = runner.message_hub.get_scalar('val/mIoU').current()
    assert trained > 60  # of two classes; all background gives 45
    cfg.load_from = str(tmp_path / 'work/iter_200.pth')
    cfg.experiment_name += '_test'
    assert Runner.from_cfg(cfg).test()['mIoU'] == pytest.approx(trained)


def test_the_tool_tests_with_augmentation_and_draws(data_root, tmp_path, repository, monkeypatch):
    cfg = shrink(LINEAR, data_root('camvid'), tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    cfg.visualizer.name = tmp_path.name  # one of that name lives on in this process
    cfg.tta_pipeline[1].transforms[0] = [dict(type='Resize', scale=size, keep_ratio=True) for size in (SIZE, (48, 27))]
    cfg.dump(tmp_path / 'config.py')
    options = ['--tta', '--show-dir', str(tmp_path / 'drawn'), '--out', str(tmp_path / 'result.json')]
    arguments = ['test.py', str(tmp_path / 'config.py'), str(tmp_path / 'work/iter_2.pth'), *options]
    monkeypatch.setattr(sys, 'argv', arguments)
    runpy.run_path(str(repository / 'tools/test.py'), run_name='__main__')
    assert 0 <= json.loads((tmp_path / 'result.json').read_text())['mIoU'] <= 100
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 3


def test_the_tool_refuses_a_checkpoint_that_does_not_fit_to_the_letter(data_root, tmp_path, repository):
    cfg = shrink(LINEAR, data_root('camvid'), tmp_path / 'work')
    state = Runner.from_cfg(cfg).model.state_dict()
    state['decode_head.renamed.weight'] = state.pop('decode_head.conv_seg.weight')
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'other.pth')
    cfg.experiment_name += '_test'
    build_runner = runpy.run_path(str(repository / 'tools/test.py'))['build_runner']
    with pytest.raises(RuntimeError, match=r'decode_head\.renamed(.|\n)*decode_head\.conv_seg'):
        build_runner(cfg, str(tmp_path / 'other.pth'))


def test_fine_tuning_gives_each_layer_its_rate(data_root, tmp_path):
    runner = Runner.from_cfg(shrink(UPERNET, data_root('camvid'), tmp_path / 'work', steps=1))
    runner.train()
    groups = runner.optim_wrapper.optimizer.param_groups
    rates = {id(parameter): group['initial_lr'] for group in groups for parameter in group['params']}
    model = runner.model
    layers = [model.backbone.backbone.model.patch_embed, *model.backbone.backbone.model.blocks, model.decode_head]
    found = [rates[id(next(layer.parameters()))] for layer in layers]
    assert found == pytest.approx([3e-5 * 0.65 ** (5 - depth) for depth in range(6)])


def test_a_checkpoint_of_another_network_is_refused_by_name(data_root, tmp_path):
    other = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    torch.save(other.model.state_dict(), tmp_path / 'other.pth')
    cfg = shrink(LINEAR, data_root('camvid'), tmp_path / 'work')
    cfg.model.backbone.checkpoint = str(tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth does not fit the model'):
        Runner.from_cfg(cfg)


def checked(root: Path, **changes) -> dict:
    cfg = Config.fromfile(config_path(LINEAR))
    dataset = cfg.train_dataloader.dataset
    dataset.dataset.data_root = str(root)
    dataset.dataset.update(changes)
    return DATASETS.build(dict(dataset, _scope_='mmseg'))


def test_a_good_split_passes_and_keeps_its_classes(data_root):
    dataset = checked(data_root('camvid'))
    assert len(dataset) == 3
    assert dataset.metainfo['classes'][:2] == ('sky', 'building')
    assert dataset[0]['inputs'].shape[0] == 3


@pytest.mark.parametrize(
    ('spoil', 'error', 'message'),
    [
        (
            lambda root: [path.unlink() for path in (root / 'img_dir/train').iterdir()],
            ValueError,
            'split is empty: Base',
        ),
        (lambda root: (root / 'ann_dir/train/00024.png').unlink(), FileNotFoundError, r'00024\.png does not exist'),
        (
            lambda root: Image.new('RGB', SIZE).save(root / 'ann_dir/train/00024.png'),
            ValueError,
            r'00024\.png has colours \(mode RGB\) instead of labels',
        ),
        (
            lambda root: Image.new('L', (20, 10)).save(root / 'ann_dir/train/00024.png'),
            ValueError,
            r'00024\.png has 20x10 pixels, its image .*00024\.jpg has 96x54',
        ),
        (
            lambda root: Image.new('L', SIZE, 12).save(root / 'ann_dir/train/00024.png'),
            ValueError,
            r'00024\.png holds the labels \[12\]; expected 0 to 10 for 11 classes, or 11 for',
        ),
        (
            lambda root: (root / 'ann_dir/train/00024.png').write_bytes(b'no image'),
            ValueError,
            r'00024\.png cannot be read as an image',
        ),
        (
            lambda root: (root / 'img_dir/train/00024.jpg').write_bytes(b'no image'),
            ValueError,
            r'00024\.jpg: not an image that can be read',
        ),
    ],
)
def test_bad_masks_are_refused_by_name(data_root, spoil, error, message):
    root = data_root('camvid')
    spoil(root)
    with pytest.raises(error, match=message):
        checked(root)


def test_labels_are_judged_as_mmsegmentation_reads_them(data_root):
    """ADE20K stores 0 for no label and 1 to 150 for its classes."""
    cfg = Config.fromfile(config_path('segmentation/vit-small-p16_linear_1xb16-40k_ade20k-512x512.py'))
    root = data_root('ade20k')
    dataset = cfg.train_dataloader.dataset
    dataset.dataset.data_root = str(root)
    mask = root / 'annotations/training/00024.png'
    for stored, accepted in ((0, True), (1, True), (150, True), (255, True), (151, False), (254, False)):
        Image.new('L', SIZE, stored).save(mask)
        if accepted:
            assert len(DATASETS.build(dict(dataset, _scope_='mmseg'))) == 3
        else:
            with pytest.raises(ValueError, match=rf'labels \[{stored}\]; expected 0 to 149 after 1 is subtracted'):
                DATASETS.build(dict(dataset, _scope_='mmseg'))


def turned(root: Path, orientation: int, kind: str = 'JPEG') -> None:
    """Give all training images this EXIF orientation."""
    for path in (root / 'img_dir/train').iterdir():
        exif = Image.Exif()  # a new one for each: Pillow takes the orientation out when it writes AVIF
        exif[0x0112] = orientation
        Image.open(path).convert('RGB').save(path, kind, exif=exif)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_masks_fit_the_image_that_mmcv_loads(data_root, backend, kind, orientation):
    """The format decides, not the suffix; cv2 turns all of these but AVIF."""
    if kind == 'AVIF' and not features.check('avif'):
        pytest.skip('this Pillow writes no AVIF')
    root = data_root('camvid')
    turned(root, orientation, kind)
    pipeline = [dict(type='LoadImageFromFile', imdecode_backend=backend), dict(type='LoadAnnotations')]
    quarter = orientation >= 5 and (backend, kind) != ('cv2', 'AVIF')
    masks = sorted((root / 'ann_dir/train').iterdir())
    if quarter:
        with pytest.raises(ValueError, match=r'has 96x54 pixels, its image .* has 54x96'):
            checked(root, pipeline=pipeline)
        for path in masks:
            Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    sample = checked(root, pipeline=pipeline)[1]
    assert sample['img'].shape[:2] == sample['gt_seg_map'].shape == ((96, 54) if quarter else (54, 96))


def test_a_loader_that_does_not_turn_gets_masks_of_the_stored_size(data_root):
    root = data_root('camvid')
    turned(root, 6)
    pipeline = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation'), dict(type='LoadAnnotations')]
    assert checked(root, pipeline=pipeline)[0]['img'].shape[:2] == (54, 96)


@pytest.mark.parametrize('folder', ['img_dir', 'ann_dir'])
def test_images_and_masks_keep_to_the_limit_of_pixels_while_training_too(data_root, folder):
    root = data_root('camvid')
    cfg = Config.fromfile(config_path(LINEAR)).train_dataloader.dataset
    cfg.dataset.data_root = str(root)
    path = sorted((root / folder / 'train').iterdir())[1]
    with pytest.raises(ValueError, match='claims 96 x 54 pixels, 5,184 in all, and max_pixels=5,183 are allowed'):
        DATASETS.build(dict(cfg, max_pixels=5183, _scope_='mmseg'))
    dataset = DATASETS.build(dict(cfg, max_pixels=5184, _scope_='mmseg'))
    path.write_bytes(claiming('PNG', 30_000, 30_000))  # changed since
    with pytest.raises(ValueError, match=rf'{path.name}: its header claims 30000 x 30000 pixels'):
        dataset[1]


def test_a_pipe_in_place_of_a_file_is_refused(data_root):
    root = data_root('camvid')
    (root / 'ann_dir/train/00024.png').unlink()
    os.mkfifo(root / 'ann_dir/train/00024.png')
    with pytest.raises(ValueError, match=r'00024\.png: it is a named pipe'):
        checked(root)


def test_a_tilde_is_the_home_folder(data_root, monkeypatch):
    root = data_root('camvid')
    monkeypatch.setenv('HOME', str(root))
    (root / 'list.txt').write_text('00000\n00024\n')
    assert len(checked(Path('~'), ann_file='list.txt')) == 2
    prefixes = dict(img_path='~/img_dir/train', seg_map_path='~/ann_dir/train')
    assert len(checked(root / 'elsewhere', ann_file='~/list.txt', data_prefix=prefixes)) == 2


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('00000\n00024\n'.encode('utf-8-sig'), 'begins with a byte-order mark.*without it'),
        ('00000\n00024\n'.encode('utf-16'), 'begins with a byte-order mark'),
        (b'00000\n\xe9\n', r'list\.txt, line 2: byte 0xe9 is not UTF-8'),
    ],
)
def test_a_list_that_mmsegmentation_would_misread_is_refused(data_root, content, message):
    root = data_root('camvid')
    (root / 'list.txt').write_bytes(content)
    with pytest.raises(ValueError, match=message):
        checked(root, ann_file='list.txt')


def test_a_folder_that_cannot_be_read_is_named(data_root, monkeypatch):
    root = data_root('camvid')
    forbid(monkeypatch, root / 'img_dir/train')
    with pytest.raises(PermissionError, match=r'img_dir/train cannot be read: Permission denied.*chmod'):
        checked(root)
