"""Classification by mmpretrain's own Runner and tools, on bundled photographs in a folder for each class."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands import smoke
from dino_plugin.openmmlab.config_files import config_path, config_root
from dino_plugin.weights.safe_loading import load_checkpoint

try:
    import mmpretrain
except Exception as error:  # the official build raises an AssertionError for versions of mmcv that it does not know
    pytest.skip(f'mmpretrain cannot be imported: {error}', allow_module_level=True)

CONFIGS = sorted(f'classification/{path.name}' for path in (config_root() / 'classification').glob('*.py'))
LINEAR = 'classification/vit-small-p16_linear_8xb128-100e_in1k.py'
FINETUNE = 'classification/vit-small-p16_finetune_8xb128-200e_in1k.py'
CUSTOM = 'classification/vit-small-p16_linear_1xb128-100e_custom.py'
FINETUNE_CUSTOM = 'classification/vit-small-p16_finetune_1xb64-100e_custom.py'
NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=2)
CLASSES = ('airplane', 'frog', 'ship')


@pytest.fixture
def data_root(tmp_path, repository) -> Path:
    """Four photographs of each of three classes to train on, two to validate on, and ImageNet's lists of them."""
    (tmp_path / 'images/meta').mkdir(parents=True)
    for split, source, count in (('train', 'train', 4), ('val', 'test', 2)):
        listed = []
        for label, name in enumerate(CLASSES):
            folder = tmp_path / f'images/{split}/{name}'
            folder.mkdir(parents=True)
            for image in sorted((repository / f'tests/data/cifar10_mini/{source}/{name}').iterdir())[:count]:
                shutil.copy(image, folder)
                listed.append(f'{name}/{image.name} {label}\n')
        (tmp_path / f'images/meta/{split}.txt').write_text(''.join(listed))
    return tmp_path / 'images'


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """What a pretraining leaves behind."""
    torch.manual_seed(0)
    network = TimmBackbone(**NETWORK)
    torch.save(
        {'state_dict': network.model.state_dict(), 'meta': {'backbone': network.description}}, tmp_path / 'pre.pth'
    )
    return tmp_path / 'pre.pth'


def shrink(name: str | Path, root: Path, work_dir: Path, checkpoint: Path | None = None) -> Config:
    """The same config as ``--smoke`` makes it, with the network of the checkpoint: two steps an epoch, one epoch."""
    cfg = Config.fromfile(name if isinstance(name, Path) else config_path(name))
    backbone = dict(cfg.model.backbone)
    smoke.shrink(cfg, batch_size=6, epochs=1)
    cfg.model.backbone = {**backbone, 'checkpoint': checkpoint and str(checkpoint)}
    cfg.test_dataloader.dataset.pipeline = cfg.val_dataloader.dataset.pipeline
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{Path(name).stem}_{work_dir.name}_{root.parent.name}'
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains_and_its_checkpoint_is_tested_without_naming_the_backbone(
    name, data_root, checkpoint, tmp_path, repository
):
    runner = Runner.from_cfg(shrink(name, data_root, tmp_path / 'work', checkpoint))
    before = {key: value.clone() for key, value in runner.model.named_parameters()}
    runner.train()
    after = dict(runner.model.named_parameters())
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert runner.iter == 2
    assert {'head.fc.weight', 'head.fc.bias'} <= moved
    assert any(key.startswith('backbone.') for key in moved) == (not runner.model.backbone.frozen)
    checkpoint.unlink()
    build_runner = runpy.run_path(str(repository / 'tools/test.py'))['build_runner']
    tested = build_runner(shrink(name, data_root, tmp_path / 'tested'), str(tmp_path / 'work/epoch_1.pth'))
    validated = runner.message_hub.get_scalar('val/accuracy/top1').current()
    assert tested.test()['accuracy/top1'] == pytest.approx(validated)
    assert type(tested.model).__name__ == 'ImageClassifier'
    assert all(map(torch.equal, tested.model.parameters(), runner.model.parameters()))


def test_the_linear_probe_sees_the_class_tokens_of_the_last_four_blocks(data_root, checkpoint, tmp_path):
    model = Runner.from_cfg(shrink(LINEAR, data_root, tmp_path / 'work', checkpoint)).model.eval()
    images = torch.randn(2, 3, 32, 32)
    network = model.backbone.backbone.model
    tokens = network.forward_intermediates(images, indices=4, norm=True, return_prefix_tokens=True, output_fmt='NLC')
    expected = torch.cat([prefix[:, 0] for _, prefix in tokens[1]], dim=1)
    torch.testing.assert_close(model.extract_feat(images)[-1], expected)
    torch.testing.assert_close(model.head.fc.weight.shape, torch.Size([1000, 4 * 48]))
    torch.testing.assert_close(model(images), expected @ model.head.fc.weight.T + model.head.fc.bias)


def test_fine_tuning_gives_each_layer_its_rate_and_the_field_s_decay(data_root, checkpoint, tmp_path):
    runner = Runner.from_cfg(shrink(FINETUNE, data_root, tmp_path / 'work', checkpoint))
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    found = {id(parameter): group for group in wrapper.optimizer.param_groups for parameter in group['params']}
    network = runner.model.backbone.backbone.model
    layers = [network.patch_embed, *network.blocks, runner.model.head]
    rates = [found[id(next(layer.parameters()))]['lr'] for layer in layers]
    assert rates == pytest.approx([4e-3 * 0.75 ** (5 - depth) for depth in range(6)])
    decays = {name: found[id(parameter)]['weight_decay'] for name, parameter in network.named_parameters()}
    without = {name for name, decay in decays.items() if decay == 0}
    assert set(decays.values()) == {0, 0.05}
    assert without == {
        name for name in decays if name.endswith('bias') or 'norm' in name or name in ('pos_embed', 'cls_token')
    }


@pytest.mark.parametrize('name', [FINETUNE, FINETUNE_CUSTOM])
def test_fine_tuning_mixes_images_smooths_labels_and_drops_paths(name, data_root, checkpoint, tmp_path):
    model = Runner.from_cfg(shrink(name, data_root, tmp_path / 'work', checkpoint)).model
    augments = {type(augment).__name__: augment.alpha for augment in model.data_preprocessor.batch_augments.augments}
    assert augments == {'Mixup': 0.8, 'CutMix': 1.0}
    assert (type(model.head.loss_module).__name__, model.head.loss_module.label_smooth_val) == ('LabelSmoothLoss', 0.1)
    rates = [getattr(block.drop_path1, 'drop_prob', 0.0) for block in model.backbone.backbone.model.blocks]
    assert rates == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1])


def test_the_learning_rate_of_the_custom_config_is_that_of_imagenet_for_its_batch():
    whole, small = (Config.fromfile(config_path(name)) for name in (FINETUNE, FINETUNE_CUSTOM))
    images = 8 * whole.train_dataloader.batch_size
    expected = whole.optim_wrapper.optimizer.lr * small.train_dataloader.batch_size / images
    assert small.optim_wrapper.optimizer.lr == pytest.approx(expected)
    assert small.param_scheduler[0].end == small.param_scheduler[1].begin < small.param_scheduler[1].end
    assert small.param_scheduler[1].end == small.train_cfg.max_epochs


def test_with_the_readme_s_hook_the_moving_average_is_tested(data_root, checkpoint, tmp_path, repository):
    hook = re.search(
        r'custom_hooks = (\[dict\(.*?\)\])', (repository / 'configs/classification/README.md').read_text()
    )[1]
    cfg = shrink(FINETUNE_CUSTOM, data_root, tmp_path / 'work', checkpoint)
    cfg.custom_hooks = eval(hook)
    cfg.custom_hooks[0].update(momentum=0.5)
    runner = Runner.from_cfg(cfg)
    runner.train()
    saved = load_checkpoint(str(tmp_path / 'work/epoch_1.pth'))
    assert not torch.equal(saved['state_dict']['head.fc.weight'], saved['ema_state_dict']['module.head.fc.weight'])
    build_runner = runpy.run_path(str(repository / 'tools/test.py'))['build_runner']
    tested = build_runner(shrink(FINETUNE_CUSTOM, data_root, tmp_path / 'tested'), str(tmp_path / 'work/epoch_1.pth'))
    assert torch.equal(tested.model.head.fc.weight, saved['state_dict']['head.fc.weight'])
    validated = runner.message_hub.get_scalar('val/accuracy/top1').current()
    assert tested.test()['accuracy/top1'] == pytest.approx(validated)


def test_mmpretrains_own_tools_train_and_test(data_root, checkpoint, tmp_path, monkeypatch):
    tools = Path(mmpretrain.__file__).parent / '.mim/tools'
    if not tools.is_dir():
        pytest.skip('this build of mmpretrain brings no tools')
    shrink(CUSTOM, data_root, tmp_path / 'work', checkpoint).dump(tmp_path / 'config.py')
    runners, results = [], []
    monkeypatch.setattr(Runner, 'train', lambda self, train=Runner.train: runners.append(self) or train(self))
    monkeypatch.setattr(Runner, 'test', lambda self, test=Runner.test: results.append(test(self)) or results[-1])
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path / 'config.py')])
    runpy.run_path(str(tools / 'train.py'), run_name='__main__')
    torch.save({'state_dict': runners[0].model.state_dict(), 'meta': {}}, tmp_path / 'weights.pth')
    options = ['--work-dir', str(tmp_path / 'test'), '--cfg-options', f'experiment_name={tmp_path.name}_test']
    monkeypatch.setattr(sys, 'argv', ['test.py', str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth'), *options])
    runpy.run_path(str(tools / 'test.py'), run_name='__main__')
    assert runners[0].iter == 2
    validated = runners[0].message_hub.get_scalar('val/accuracy/top1').current()
    assert results[0]['accuracy/top1'] == pytest.approx(validated)


def test_a_probe_learns_the_classes(data_root, checkpoint, tmp_path, monkeypatch, repository):
    """From the command line, as the header says; tested on the images that it learnt."""
    cfg = shrink(CUSTOM, data_root, tmp_path / 'work', checkpoint)
    cfg.train_cfg.max_epochs = 30
    cfg.param_scheduler = None
    cfg.auto_scale_lr.enable = False
    cfg.optim_wrapper.optimizer.lr = 0.1
    cfg.train_dataloader.dataset.pipeline[2] = dict(type='Resize', scale=32)
    cfg.test_dataloader.dataset.data_prefix = 'train'
    cfg.default_hooks.checkpoint.interval = 30
    cfg.train_cfg.val_interval = 30
    Runner.from_cfg(cfg).train()
    cfg.model.backbone.checkpoint = None
    cfg.experiment_name += '_test'
    cfg.dump(tmp_path / 'config.py')
    arguments = [str(tmp_path / 'config.py'), str(tmp_path / 'work/epoch_30.pth'), '--out', str(tmp_path / 'out.json')]
    monkeypatch.setattr(sys, 'argv', ['test.py', *arguments])
    runpy.run_path(str(repository / 'tools/test.py'), run_name='__main__')
    assert json.loads((tmp_path / 'out.json').read_text())['accuracy/top1'] > 80  # chance gives 33


def test_the_example_of_the_readme_is_a_model(repository, checkpoint):
    readme = (repository / 'configs/classification/README.md').read_text()
    example = re.search(r'```python\n(.*?)```', readme, flags=re.DOTALL)[1]
    own = checkpoint.parent / 'own.py'
    own.write_text("default_scope = 'mmpretrain'\n" + example.replace('epoch_100.pth', str(checkpoint)))
    model = mmpretrain.get_model(Config.fromfile(own))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
