"""Images of five channels and twelve bits all the way: measured, trained, evaluated, exported, by settings alone."""

import json
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import timm
import torch
from bundled import CIFAR
from channel_images import five_channels, write_images
from mmengine.config import Config
from mmengine.registry import DATASETS, FUNCTIONS, MODELS
from safetensors.torch import load_file

from dino_plugin.data.mmcv_transforms import LoadImage
from dino_plugin.engine.vocabulary import VOCABULARY  # noqa: F401
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.weights.safe_loading import load_checkpoint

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
RECIPE = 'dino/dino_vit-small-p16_1xb64-coslr-200e_channels.py'
KNN = 'knn/knn_folder_channels.py'
PICTURES = sorted(CIFAR.glob('*/*.jpg'))
SMALL = {
    **{f'model.backbone.{key}': value
       for key, value in dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2).items()},
    'model.heads.cls.hidden_dim': 32,
    'model.heads.cls.bottleneck_dim': 16,
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 2,
    'train_cfg.max_epochs': 2,
    'optim_wrapper.precision': 'fp32',
    **{f'train_dataloader.dataset.dataset.pipeline.1.{key}': value
       for key, value in dict(global_size=32, local_size=16, num_local=2).items()},
}  # fmt: skip


def run_tool(name: str, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [f'tools/{name}.py', *map(str, arguments)])
        runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')


def options(changes: dict) -> list[str]:
    return ['--cfg-options', *(f'{name}={value}' for name, value in changes.items())]


def own_config(name: str) -> str:
    """The config that a header shows."""
    shown = re.search(r'^# A config of your own.*:\n((?:#   .*\n)+)', config_path(name).read_text(), flags=re.MULTILINE)
    return re.sub('^#   ', '', shown[1], flags=re.MULTILINE)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A working directory with path/to/images, 40 files of ten classes."""
    folder = tmp_path_factory.mktemp('channels')
    write_images(folder / 'path/to/images', PICTURES[::25])
    return folder


@pytest.fixture(scope='module')
def trained(folder) -> Path:
    """The last checkpoint of the config that the header shows, made small."""
    (folder / 'own.py').write_text(own_config(RECIPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_tool('train', 'own.py', *options(SMALL))
    return folder / 'work_dirs/own/epoch_2.pth'


def test_a_recipe_trains_on_tiff_of_five_channels_by_settings_alone(trained):
    checkpoint = load_checkpoint(trained)
    cfg = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    assert pipeline[0].to_dict() == dict(type='dino_plugin.LoadChannels', num_channels=5, bits=12)
    assert (pipeline[1].photometric, tuple(pipeline[1].rgb_channels)) == ('paper', (0, 1, 2))
    assert checkpoint['meta']['iter'] == 10
    student, teacher = (
        checkpoint['state_dict'][f'distillation.{network}.backbone.model.patch_embed.proj.weight']
        for network in ('student', 'teacher')
    )
    assert student.shape == (32, 5, 8, 8)
    moved = (student - teacher).flatten(2).norm(dim=2).mean(dim=0)
    assert (moved > 0).all(), 'the weights of every channel learn'


def test_the_nearest_neighbour_of_an_image_is_the_image_itself(trained, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / 'own_knn.py').write_text(own_config(KNN))
    changes = {'test_evaluator.temperature': 1e-3, 'test_evaluator.ks': '(1,10)'}
    for loader in ('test_dataloader', 'test_cfg.bank_dataloader'):
        changes[f'{loader}.dataset.data_root'] = 'path/to/images'
        changes |= {f'{loader}.num_workers': 0, f'{loader}.dataset.pipeline.1.resize': 32}
        changes[f'{loader}.dataset.pipeline.1.crop'] = 32
    run_tool('test', 'own_knn.py', trained, '--out', 'knn.json', *options(changes))
    assert json.loads(Path('knn.json').read_text())['knn/top1_k10'] == 100


def test_the_export_is_timms_network_of_five_channels(trained, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match='2'):
        run_tool('export_backbone', trained, 'exported', '--mean', 1, 2, 3, '--std', 1, 2, 3)
    assert '3 and 3 numbers, and the network has 5 channels: give --mean and --std' in capsys.readouterr().err
    run_tool('export_backbone', trained, 'exported')  # the checkpoint says mean and deviation
    (path,) = folder.glob('exported-*.safetensors')
    card = json.loads(path.with_suffix('.json').read_text())
    trained_with = Config.fromstring(load_checkpoint(trained)['meta']['cfg'], '.py').model.data_preprocessor
    for name in ('mean', 'std'):
        assert card[name] == [round(level / 255, 6) for level in trained_with[name]]
    model = timm.create_model(card['model_name'], **card['timm_arguments']).eval()
    model.load_state_dict(load_file(path))
    images = torch.randn(2, 5, 32, 32)
    backbone = MODELS.build(dict(type='dino_plugin.TimmBackbone', checkpoint=str(trained))).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), backbone(images).class_token)


def test_the_sheet_of_views_shows_the_first_three_channels(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / 'own.py').write_text(own_config(RECIPE))
    changes = {name: value for name, value in SMALL.items() if 'pipeline' in name}
    run_tool('browse_views', 'own.py', '--out', tmp_path / 'views.png', '--num', 2, *options(changes))
    assert cv2.imread(str(tmp_path / 'views.png')).std() > 20


def test_a_damaged_file_is_replaced_and_counted_and_one_of_other_channels_stops_the_training(tmp_path):
    write_images(tmp_path / 'images', PICTURES[:3])
    damaged = tmp_path / 'images/airplane/damaged.tif'
    damaged.write_bytes(next((tmp_path / 'images').rglob('*.tif')).read_bytes()[:-900])
    loader = dict(type='dino_plugin.LoadChannels', num_channels=5, bits=12)
    images = dict(type='dino_plugin.ImageDataset', data_root=str(tmp_path / 'images'), pipeline=[loader])
    dataset = DATASETS.build(dict(type='dino_plugin.SeededDataset', dataset=images, max_undecodable=0.5))
    loaded = [dataset[number]['img'] for number in range(4)]
    assert [image.shape for image in loaded] == [(32, 32, 5)] * 4
    assert dataset.undecodable_paths == [str(damaged)]
    write_images(tmp_path / 'images', PICTURES[4:5], channels=4)
    dataset = DATASETS.build(dict(type='dino_plugin.SeededDataset', dataset=images, max_undecodable=0.5))
    with pytest.raises(ValueError, match=rf'{PICTURES[4].stem}\.tif: values of shape \(4, 32, 32\): expected 5'):
        [dataset[number] for number in range(len(dataset))]


def printed(text: str, name: str) -> list:
    """The numbers of a line that the tool prints for a config."""
    return json.loads(re.search(rf'\b{name}=(\[.*?\])[,)]', text)[1].replace('(', '[').replace(')', ']'))


def all_numbers(folder: Path) -> np.ndarray:
    files = [tifffile.imread(path) for path in sorted(folder.rglob('*.tif'))]
    return np.stack(files).astype(np.float64).transpose(1, 0, 2, 3).reshape(5, -1)


def test_the_tool_measures_what_numpy_measures(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / 'own.py').write_text(own_config(RECIPE))
    run_tool('measure_normalisation', 'own.py')
    text, levels = capsys.readouterr().out, all_numbers(folder) * 255 / 4095
    np.testing.assert_allclose(printed(text, 'mean'), levels.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(printed(text, 'std'), levels.std(axis=1), rtol=1e-5)
    for name in ('mean', 'std'):
        np.testing.assert_allclose(printed(own_config(RECIPE), name), printed(text, name), rtol=0.01)


def test_the_tool_measures_a_range_first_if_it_is_asked_to(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.py').write_text(own_config(RECIPE))
    run_tool('measure_normalisation', 'own.py', folder / 'path/to/images', '--percentiles', 2, 98)
    text, numbers = capsys.readouterr().out, all_numbers(folder)
    pairs = np.percentile(numbers, [2, 98], axis=1).T
    np.testing.assert_allclose(printed(text, 'value_range'), pairs, rtol=1e-5)
    low, high = pairs.T[:, :, None]
    levels = (255 * (numbers - low) / (high - low)).clip(0, 255)
    np.testing.assert_allclose(printed(text, 'mean'), levels.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(printed(text, 'std'), levels.std(axis=1), rtol=1e-5)


def test_the_tool_measures_ordinary_images_by_any_loader_in_rgb_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rgb = np.stack([LoadImage()(dict(img_path=str(path)))['img'] for path in PICTURES[::250]]).astype(float)
    listed = tmp_path / 'list.txt'
    listed.write_text('\n'.join(map(str, PICTURES[::250])))
    for loader in ('dino_plugin.LoadImage', 'LoadImageFromFile'):
        Path('own.py').write_text(
            "_base_ = 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'\n"
            "default_scope = 'mmcv'\n"
            f"_base_.train_dataloader.dataset.dataset.update(data_root='/', ann_file={str(listed)!r})\n"
            f'_base_.train_dataloader.dataset.dataset.pipeline[0] = dict(type={loader!r})\n'
        )
        run_tool('measure_normalisation', 'own.py')
        text = capsys.readouterr().out
        np.testing.assert_allclose(printed(text, 'mean'), rgb.mean(axis=(0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(printed(text, 'std'), rgb.std(axis=(0, 1, 2)), rtol=1e-5)


def test_the_tool_leaves_out_what_was_not_measured_and_counts_damaged_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'images', PICTURES[:4])
    whole = all_numbers(tmp_path)
    image = tifffile.imread(next((tmp_path / 'images').rglob('*.tif'))).astype(np.float32)
    image[:, :7] = -1
    tifffile.imwrite(tmp_path / 'images/airplane/part.tif', image, photometric='minisblack')
    (tmp_path / 'images/airplane/damaged.tif').write_bytes(b'II*\0 no more')
    (tmp_path / 'own.py').write_text(own_config(RECIPE).replace('bits=12', 'bits=12, nodata=-1'))
    run_tool('measure_normalisation', 'own.py', 'images')
    text = capsys.readouterr().out
    together = np.concatenate([whole, image[:, 7:].reshape(5, -1)], axis=1) * 255 / 4095
    np.testing.assert_allclose(printed(text, 'mean'), together.mean(axis=1), rtol=1e-5)
    assert '1 of 6 files cannot be read' in text
    assert 'damaged.tif' in text


def test_the_tool_measures_so_many_images_spread_over_the_folder(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.py').write_text(own_config(RECIPE))
    run_tool('measure_normalisation', 'own.py', folder / 'path/to/images', '--num', 10)
    text = capsys.readouterr().out
    write_images(tmp_path / 'images', PICTURES[::100])
    np.testing.assert_allclose(printed(text, 'mean'), (all_numbers(tmp_path) * 255 / 4095).mean(axis=1), rtol=1e-5)


def test_the_tool_says_what_it_cannot_measure(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    custom = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
    for arguments, message in (
        ([custom, folder, '--percentiles', 1, 99], 'only dino_plugin.LoadChannels scales'),
        (['dino/dino_vit-small-p16_1xb64_lightly-dataset.py', folder], 'has no pipeline'),
        ([RECIPE, folder / 'path/to/images'], 'expected 13 channels'),
        ([RECIPE, 'nowhere'], 'data_root is not a folder: nowhere'),
    ):
        with pytest.raises(SystemExit):
            run_tool('measure_normalisation', *arguments)
        assert message in capsys.readouterr().err


def test_a_channel_that_never_changes_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'images').mkdir()
    image = np.random.default_rng(0).integers(0, 4096, (5, 9, 9), dtype=np.uint16)
    image[3] = 77
    tifffile.imwrite(tmp_path / 'images/a.tif', image, photometric='minisblack')
    (tmp_path / 'own.py').write_text(own_config(RECIPE))
    run_tool('measure_normalisation', 'own.py', 'images')
    assert 'leave it out by keep=' in capsys.readouterr().out


FILES = {13: ('.tif', 10_000), 1: ('.png', 4096), 5: ('.tif', 65536)}  # channels: how the docs' images are stored
EXAMPLES = re.findall(
    r'^```python\n(.*?)^```', (TOOLS.parent / 'docs/channels.md').read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize('code', EXAMPLES, ids=['satellite', 'medicine', 'microscope'])
def test_a_config_of_the_docs_gives_views_that_its_network_takes(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.py').write_text(code)
    cfg = Config.fromfile('own.py')
    channels = cfg.model.backbone.in_chans
    suffix, most = FILES[channels]
    Path('path/to/images').mkdir(parents=True)
    for number, path in enumerate(PICTURES[::300]):
        numbers = np.tile(five_channels(path, 40, 50), 3)[..., :channels] * (most / 4096)
        file = f'path/to/images/{number}{suffix}'
        if suffix == '.png':
            cv2.imwrite(file, numbers.astype(np.uint16))
        else:
            tifffile.imwrite(file, numbers.astype(np.uint16), photometric='minisblack', planarconfig='contig')
    batch = FUNCTIONS.get(cfg.train_dataloader.collate_fn.type)(list(DATASETS.build(cfg.train_dataloader.dataset)))
    views = MODELS.build(cfg.model.data_preprocessor)(batch)['views']
    assert views.global_views.shape == (2, 4, channels, 224, 224)
    assert views.global_views.std() > 0.2, 'the images use the range'
    cfg.model.backbone.update(embed_dim=32, depth=1, num_heads=2)
    tokens = MODELS.build(cfg.model.backbone)(views.local_views)
    assert tokens.class_token.isfinite().all()


NETWORK = dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', depth=1)


@pytest.mark.parametrize('channels', [1, 2, 6, 13])
@pytest.mark.parametrize('network', [NETWORK, dict(type='dino_plugin.TimmBackbone', model_name='resnet10t')])
def test_a_file_of_rgb_starts_a_network_of_other_channels_as_timm_does(network, channels, tmp_path):
    """timm itself, from the same file, for all tensors; grey in all channels gives what it gave."""
    rgb = MODELS.build(network).eval()
    torch.save(rgb.model.state_dict(), tmp_path / 'rgb.pth')
    arguments = {key: value for key, value in network.items() if key not in ('type', 'model_name')}
    theirs = timm.create_model(
        network['model_name'], True, num_classes=0, in_chans=channels, **arguments,
        pretrained_cfg_overlay=dict(file=str(tmp_path / 'rgb.pth'), num_classes=0),
    ).state_dict()  # fmt: skip
    ours = MODELS.build(dict(network, in_chans=channels, checkpoint=str(tmp_path / 'rgb.pth'))).eval()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-7)
    grey = torch.randn(2, 1, 224, 224)
    if channels in (1, 6):
        tokens = [backbone(grey.expand(-1, backbone.in_channels, -1, -1)) for backbone in (rgb, ours)]
        torch.testing.assert_close(*(of.class_token for of in tokens), rtol=1e-3, atol=1e-4)


def test_weights_of_other_channels_than_rgb_are_refused(tmp_path):
    torch.save(dict(state_dict=MODELS.build(dict(NETWORK, in_chans=2)).model.state_dict()), tmp_path / 'two.pth')
    with pytest.raises(ValueError, match=r'\(192, 2, 16, 16\) in the checkpoint and \(192, 5, 16, 16\)'):
        MODELS.build(dict(NETWORK, in_chans=5, checkpoint=str(tmp_path / 'two.pth')))


@pytest.mark.parametrize('channels', [3, 4])
@pytest.mark.parametrize('name', ['vit_small_patch14_dinov2', 'vit_small_patch14_reg4_dinov2'])
def test_a_released_file_at_448_pixels_gives_the_tokens_of_timms_own_loading(name, channels, tmp_path):
    """Positions resampled and the first layer spread, together. The file has 37 x 37 positions, as DINOv2's have."""
    small = dict(embed_dim=32, depth=1, num_heads=2)
    torch.save(timm.create_model(name, num_classes=0, img_size=518, **small).state_dict(), tmp_path / 'released.pth')
    larger = dict(small, img_size=448, in_chans=channels)
    theirs = timm.create_model(
        name, True, num_classes=0, **larger,
        pretrained_cfg_overlay=dict(file=str(tmp_path / 'released.pth'), num_classes=0),
    ).eval()  # fmt: skip
    ours = dict(larger, type='dino_plugin.TimmBackbone', model_name=name, checkpoint=str(tmp_path / 'released.pth'))
    backbone = MODELS.build(dict(ours, position_resampling='timm')).eval()
    images = torch.randn(1, channels, 448, 448)
    with torch.no_grad():
        tokens, expected = backbone(images), theirs.forward_features(images)
    torch.testing.assert_close(tokens.class_token, expected[:, 0])
    torch.testing.assert_close(tokens.patches.flatten(1, 2), expected[:, theirs.num_prefix_tokens :])


def test_pretrained_weights_are_spread_over_the_channels_as_the_docs_say():
    """timm's rule, by its own function, without a download: what docs/channels.md says of pretrained=True."""
    from timm.models._manipulate import adapt_input_conv

    weight = torch.randn(8, 3, 4, 4)
    five = adapt_input_conv(5, weight)
    torch.testing.assert_close(five, weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
    torch.testing.assert_close(adapt_input_conv(1, weight), weight.sum(dim=1, keepdim=True))
