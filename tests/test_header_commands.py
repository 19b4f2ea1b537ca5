"""The commands in the headers of the configs do what they say: each is parsed, and one of each kind is executed, small.

A command is executed with its own words in a folder that holds what it names (``path/to/images``, ``CHECKPOINT``,
``DIR/train`` …); what follows them makes network, views, images and steps few.
"""

import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from PIL import Image

from dino_plugin.engine.vocabulary import VOCABULARY
from dino_plugin.openmmlab.config_files import config_path, config_root, find_config
from dino_plugin.weights.safe_loading import load_checkpoint

REPOSITORY = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = REPOSITORY / 'tests/data/cifar10_mini/test'
CONFIGS = sorted(
    path.relative_to(config_root()).as_posix() for path in config_root().rglob('*.py') if '_base_' not in path.parts
)
OWN_IMAGES = [
    *(f'{method}/{method}_vit-small-p16_1xb64-coslr-100e_custom.py' for method in ('dino', 'ibot', 'dinov2', 'dinov3')),
    *(f'{method}/{method}_vit-small-p16_1xb64-coslr-200e_small-data.py' for method in ('dino', 'ibot', 'dinov2')),
]
QUICKSTART, FULL_QUICKSTART = (f'quickstart/dino_vit-tiny_1xb64-{epochs}e_cifar10-mini.py' for epochs in (18, 22))
READ_BY_THE_RUNNER = set(inspect.signature(Runner).parameters) - {'cfg'}
CLASSES = {
    f'dino_plugin.{name}': cls
    for entries in VOCABULARY.values()
    for cls, name in (entry if isinstance(entry, tuple) else (entry, entry.__name__) for entry in entries)
}
NETWORK = dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)


# --- what a header says -----------------------------------------------------------------------------------------------


@cache
def shipped(name: str) -> Config:
    """A config, read once; nobody changes it."""
    return Config.fromfile(config_path(name))


@cache
def header(name: str) -> str:
    """The comment that a config opens with; a line that ends with a backslash goes on in the next."""
    comment = re.match(r'(#[^\n]*\n)+', config_path(name).read_text())[0]
    return re.sub(r'\\\n\s*', '', re.sub(r'^# ?', '', comment, flags=re.MULTILINE))


def commands(name: str) -> list[list[str]]:
    """The words of each command in a header, CONFIG being the config; remarks in brackets are left out."""
    lines = re.findall(r'((?:[A-Z_]+=\S+ )*\b(?:python|bash) (?:(?!\s\(|\)).)+)', header(name))
    return [[f'configs/{name}' if word == 'CONFIG' else word for word in shlex.split(line)] for line in lines]


def options(name: str) -> list[str]:
    """Every option that a header names, in its commands and anywhere else."""
    return re.findall(r'[a-z_]\w*(?:\.\w+)+(?==\S)', header(name))


def own_config(name: str) -> str:
    """The config of one's own that a header shows, or nothing."""
    shown = re.search(r'^Or as a config of yours.*:\n((?:  .*\n)+)', header(name), flags=re.MULTILINE)
    return re.sub('^  ', '', shown[1], flags=re.MULTILINE) if shown else ''


def is_read(option: str, cfg: Config) -> bool:
    """Whether somebody reads this value: mmengine's runner a part of the config, and a class of ours its arguments."""
    part = {name: cfg.get(name) for name in READ_BY_THE_RUNNER}
    for name in option.split('.'):
        if isinstance(part, list) and name.isdigit() and int(name) < len(part):
            part = part[int(name)]
        elif not isinstance(part, dict):
            return False
        elif name in part:
            part = part[name]
        elif part.get('type') in CLASSES and name in inspect.signature(CLASSES[part['type']]).parameters:
            part = None
        else:
            return False
    return True


# --- all of them, parsed ----------------------------------------------------------------------------------------------


@cache
def tool(name: str) -> ModuleType:
    """tools/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(f'{name}_tool', REPOSITORY / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python_command(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Script and arguments that a command runs by Python, and the launcher's options; launchers really launch."""
    variables = dict(word.split('=', 1) for word in words if re.match(r'[A-Z_]+=', word))
    program, script, *arguments = words[len(variables) :]
    assert (REPOSITORY / script).is_file()
    if program == 'python':
        return [script, *arguments], {}
    if script == 'tools/quickstart.sh':  # it would install; what it does with its arguments is tested in test_tools.py
        return ['tools/quickstart.py', *arguments], {}
    env = {**os.environ, **variables, 'PYTHON': 'echo'}
    line = subprocess.run(['bash', script, *arguments], cwd=REPOSITORY, env=env, capture_output=True, text=True).stdout
    launched = line.split()
    start = next(number for number, word in enumerate(launched) if word.startswith('tools/'))
    return launched[start:], dict(re.findall(r'--(\w+)=(\S+)', ' '.join(launched[:start])))


@pytest.mark.parametrize('name', CONFIGS)
def test_each_command_names_its_config_and_is_what_the_tool_accepts(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = []
    for words in commands(name):
        words = ['2' if word == 'GPUS' else word for word in words]
        (script, *arguments), launched = python_command(words)
        for word in arguments:  # checkpoints must exist when the command line is read
            if word == 'CHECKPOINT' or (word.endswith('.pth') and '=' not in word):
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
            if word in ('DIR', 'IMAGES', 'MASKS', 'path/to/images', 'path/to/shards', 'photos'):  # and so must folders
                Path(word).mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(sys, 'argv', [script, *arguments])
        program = tool(Path(script).stem)
        args = program.parse_args()
        quick = script == 'tools/quickstart.py'
        named = (program.FULL_CONFIG if args.full else program.CONFIG) if quick else args.config
        configs.append(find_config(named))
        if launched and (named := re.search(r'_(\d+)xb\d+', name)):
            assert int(launched['nnodes']) * int(launched['nproc_per_node']) == int(named[1])
    assert configs, 'the header has no command'
    assert set(configs) == {config_path(name)}


@pytest.mark.parametrize('name', CONFIGS)
def test_each_file_that_a_header_names_exists(name):
    for path in re.findall(r'\b(?:configs|docs|dino_plugin|tests|tools)/[\w./-]+\.(?:py|md|sh)\b', header(name)):
        assert (REPOSITORY / path).is_file(), path
    for file in re.findall(r'(?<![\w/.-])[\w-]+_[\w-]+\.py\b', header(name)):
        assert list(config_root().rglob(file)), file


@pytest.mark.parametrize('name', CONFIGS)
def test_each_option_in_a_header_is_read_by_somebody(name):
    assert [option for option in options(name) if not is_read(option, shipped(name))] == []


@pytest.mark.parametrize('name', CONFIGS)
def test_a_checkpoint_in_a_header_is_the_last_of_its_training(name):
    trainings = {'WORK_DIR': name, 'work_dirs/quickstart': FULL_QUICKSTART}
    for folder, unit, number in re.findall(r'(WORK_DIR|work_dirs/quickstart)/(epoch|iter)_(\d+)\.pth', header(name)):
        assert shipped(trainings[folder]).train_cfg[f'max_{unit}s'] == int(number)


def test_options_that_nobody_reads_are_told_from_others():
    cfg = deepcopy(shipped('dino/dino_vit-small-p16_1xb64-coslr-200e_imagenette.py'))
    cfg.data_root = 'data'  # a variable of a config
    assert is_read('model.num_images', cfg)
    assert is_read('model.backbone.gradient_checkpointing', cfg)
    assert is_read('custom_hooks.3.bank.dataset.data_root', cfg)
    for wrong in ('data_root', 'num_images', 'model.backbone.pretraind', 'train_dataloader.dataset.data_root',
                  'custom_hooks.4.interval', 'model.momentum.start.num_images.more'):  # fmt: skip
        assert not is_read(wrong, cfg)


# --- some of them, executed -------------------------------------------------------------------------------------------


def run(name: str, words: list[str], *extra: str, **changes: object) -> None:
    """The command, with further words and changes of the config."""
    script, *arguments = python_command(words)[0]
    changes |= {'experiment_name': f'{name}_{Path.cwd()}_{len(extra)}'.replace('/', '_')}
    more = [f'{option}={value}' for option, value in changes.items()] if script != 'tools/quickstart.py' else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [script, *arguments, *extra, *(['--cfg-options', *more] if more else [])])
        tool(Path(script).stem).main()


def tiny(cfg: Config, patch_size: int = 8) -> dict[str, object]:
    """What makes the training of a method a matter of a second: three steps of four images."""
    loader, dataset = 'train_dataloader', 'train_dataloader.dataset.dataset'
    size = 4 * patch_size
    network = {**NETWORK, 'patch_size': patch_size, 'img_size': size}
    views = dict(global_size=size, local_size=size // 2, num_local=2)
    heads = [f'model.heads.{name}' for name in cfg.model.heads]
    changes = {f'model.backbone.{key}': value for key, value in network.items()}
    changes |= {
        f'{head}.{key}': value for head in heads for key, value in dict(hidden_dim=32, bottleneck_dim=16).items()
    }
    changes |= {f'{dataset}.pipeline.1.{key}': value for key, value in views.items()}
    changes |= {f'{loader}.batch_size': 4, f'{loader}.num_workers': 0, 'train_cfg.max_epochs': 1}
    changes |= {'optim_wrapper.precision': 'fp32'}  # on every processor
    if 'small-data' not in cfg.filename:  # which computes them
        changes |= {f'{head}.prototypes': 64 for head in heads}
    if 'patch_size' in cfg.train_dataloader.collate_fn:
        changes |= {f'{loader}.collate_fn.patch_size': patch_size, f'{loader}.collate_fn.min_patches': 2}
    return changes


def trained(config: str) -> Config:
    """What was trained by the config of this name, as its checkpoint says; it has moved."""
    checkpoint = load_checkpoint(f'work_dirs/{Path(config).stem}/epoch_1.pth')
    assert checkpoint['meta']['iter'] == 3
    state = checkpoint['state_dict']
    assert not torch.equal(
        state['distillation.student.heads.cls.mlp.0.weight'], state['distillation.teacher.heads.cls.mlp.0.weight']
    )
    return Config.fromstring(checkpoint['meta']['cfg'], '.py')


@pytest.fixture
def folder(tmp_path, twelve_images, monkeypatch) -> Path:
    """The working directory, with a folder of images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'path/to').mkdir(parents=True)
    (tmp_path / 'path/to/images').symlink_to(twelve_images)
    return tmp_path


@pytest.mark.parametrize('name', OWN_IMAGES)
@pytest.mark.parametrize('copied', [False, True], ids=['shipped', 'copied'])
def test_a_recipe_for_ones_own_images_trains_by_its_command_shipped_and_copied(name, copied, folder):
    (words,) = commands(name)
    if copied:
        shutil.copy(config_path(name), 'copy.py')
        words = ['copy.py' if word == f'configs/{name}' else word for word in words]
        assert 'copy.py' in words
    run(name, words, **tiny(shipped(name)))
    cfg = trained('copy.py' if copied else name)
    assert cfg.train_dataloader.dataset.dataset.data_root == 'path/to/images'
    assert cfg.model.get('num_images') == (12 if 'small-data' in name else None)  # counted


@pytest.mark.parametrize('name', [name for name in CONFIGS if own_config(name)])
def test_a_config_of_ones_own_as_a_header_shows_it_trains(name, folder):
    Path('own.py').write_text(own_config(name))
    run(name, ['python', 'tools/train.py', 'own.py'], **tiny(shipped(name)))
    cfg = trained('own.py')
    assert cfg.train_dataloader.dataset.dataset.data_root == 'path/to/images'
    assert cfg.model.get('num_images') == (5000 if 'small-data' in name else None)


def save_training(path: str, model_name: str = 'vit_tiny_patch16_224', **network: object) -> None:
    """A training checkpoint of a small network, before its first step."""
    loss = dict(
        type='dino_plugin.DINOLoss', head='cls', teacher_temperature=0.04, target=dict(type='dino_plugin.Centering')
    )
    model = MODELS.build(
        dict(
            type='dino_plugin.SelfDistillationModel',
            backbone=dict(type='dino_plugin.TimmBackbone', model_name=model_name, **{**NETWORK, **network}),
            heads=dict(cls=dict(type='dino_plugin.DINOHead', prototypes=64, hidden_dim=32, bottleneck_dim=16)),
            losses=dict(dino=loss),
            momentum=0.99,
        )
    )
    meta = dict(backbone=model.distillation.teacher.backbone.description)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


def test_a_released_backbone_goes_on_from_a_file_as_the_header_says(folder):
    name = 'dinov2/dinov2_vit-small-p14_1xb64-continued-20e_custom.py'
    (words,) = commands(name)
    cfg = shipped(name)
    (remark,) = re.findall(r'for a file: (.*)\)', header(name))
    changes = tiny(cfg, patch_size=14)
    save_training('FILE', cfg.model.backbone.model_name, init_values=1e-5, patch_size=14, img_size=56)
    run(name, [*words, *remark.split()], **changes)
    start, after = (
        load_checkpoint(path)['state_dict'] for path in ('FILE', f'work_dirs/{Path(name).stem}/epoch_1.pth')
    )
    key = 'distillation.teacher.backbone.model.blocks.0.attn.qkv.weight'
    torch.testing.assert_close(after[key], start[key], rtol=0.2, atol=1e-3)
    assert not torch.equal(after[key], start[key])


def class_folders(*folders: str, images: int = 2) -> None:
    """As many photographs of each of the ten classes, the same ones in each of the folders."""
    for folder in folders:
        for photographs in sorted(PHOTOGRAPHS.iterdir()):
            Path(folder, photographs.name).mkdir(parents=True)
            for photograph in sorted(photographs.glob('*.jpg'))[:images]:
                shutil.copy(photograph, Path(folder, photographs.name))


def test_knn_on_class_folders_by_its_command(folder):
    """Bank and queries are the same images, and at this temperature the nearest neighbour, itself, decides."""
    name = 'knn/knn_folder.py'
    save_training('CHECKPOINT')
    class_folders('DIR/train', 'DIR/val')
    loaders = ('test_dataloader', 'test_cfg.bank_dataloader')
    changes = {f'{loader}.dataset.pipeline.1.{key}': 32 for loader in loaders for key in ('resize', 'crop')}
    changes |= {f'{loader}.num_workers': 0 for loader in loaders} | {'test_evaluator.temperature': 1e-3}
    run(name, commands(name)[0], '--out', 'results.json', **changes)
    assert json.loads(Path('results.json').read_text())['knn/top1_k10'] == 100


def lay_out_clip(images: str, masks: str, size: tuple[int, int] | None = None, frames: int = 3) -> None:
    """The first frame of a bundled clip with its mask, several times: nothing moves."""
    for target, kind, ending in ((images, 'JPEGImages', 'jpg'), (masks, 'Annotations', 'png')):
        Path(target).mkdir(parents=True)
        frame = Image.open(REPOSITORY / f'tests/data/davis/{kind}/480p/blackswan/00000.{ending}')
        frame = frame.resize(size, Image.Resampling.NEAREST) if size else frame
        for number in range(frames):
            frame.save(Path(target, f'{number:05}.{ending}'))


def test_a_mask_is_carried_through_ones_own_clip_by_its_command(folder):
    name = 'video/davis_folder.py'
    save_training('CHECKPOINT')
    lay_out_clip('DIR/JPEGImages/480p/still', 'DIR/Annotations/480p/still')
    run(name, commands(name)[0], '--out', 'results.json', **{'model.short_side': 240, 'model.multiple': 8})
    results = json.loads(Path('results.json').read_text())
    assert (results['davis/clips'], results['davis/failed']) == (1, 0)
    assert results['davis/J-Mean'] > 70
    for written in ('OUT/davis/still/00002.png', 'OUT/overlays', 'OUT/*.csv'):  # as the header says
        assert written.split('/')[1] in header(name)
        assert list(Path().glob(written))


def trains_and_tests(name: str, last: str, training: dict, testing: dict) -> dict:
    """The two commands of a header, one after the other -> the results; ``last`` is the checkpoint of so few steps."""
    train, test = commands(name)[:2]
    run(name, train, **training)
    test = [re.sub(r'WORK_DIR/\w+\.pth', f'work_dirs/{Path(name).stem}/{last}', word) for word in test]
    run(name, test, '--out', 'results.json', **testing)
    return json.loads(Path('results.json').read_text())


def test_a_linear_probe_of_segmentation_by_its_commands(folder):
    pytest.importorskip('mmseg', reason='mmsegmentation is not installed')
    name = 'segmentation/vit-small-p16_linear_1xb16-2k_camvid-352x352.py'
    save_training('CHECKPOINT')
    for split in ('train', 'val', 'test'):
        lay_out_clip(f'data/camvid/img_dir/{split}', f'data/camvid/ann_dir/{split}', size=(96, 54))
    data, pipeline = 'train_dataloader', 'train_dataloader.dataset.dataset.pipeline'
    evaluation = {
        f'{split}_dataloader.{key}': 0 for split in ('val', 'test') for key in ('num_workers', 'persistent_workers')
    }
    training = evaluation | {
        f'{data}.{key}': value for key, value in dict(batch_size=2, num_workers=0, persistent_workers=0).items()
    }
    training |= {f'{pipeline}.2.scale': '(96,54)', f'{pipeline}.3.crop_size': '(48,48)'}
    training |= {'model.data_preprocessor.size': '(48,48)', 'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
    training |= {'default_hooks.checkpoint.interval': 2}
    results = trains_and_tests(name, 'iter_2.pth', training, evaluation)
    assert 0 <= results['mIoU'] <= 100


def test_a_linear_probe_of_classification_by_its_commands(folder):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    name = 'classification/vit-small-p16_linear_1xb128-100e_custom.py'
    save_training('CHECKPOINT', depth=4)
    class_folders('data/custom/train', 'data/custom/val', images=1)
    small = {'num_workers': 0, 'persistent_workers': 0, 'dataset.pipeline.2.scale': 32}
    evaluation = {f'{split}_dataloader.{key}': value for split in ('val', 'test') for key, value in small.items()}
    evaluation |= {f'{split}_dataloader.dataset.pipeline.3.crop_size': 32 for split in ('val', 'test')}
    training = evaluation | {f'train_dataloader.{key}': value for key, value in (small | {'batch_size': 5}).items()}
    training |= {'train_cfg.max_epochs': 1}
    results = trains_and_tests(name, 'epoch_1.pth', training, evaluation)
    assert 0 <= results['accuracy/top1'] <= 100


def test_the_grid_of_linear_probes_by_its_commands(folder):
    name = 'probes/linear-grid_vit-small-p16_1xb128-10e_custom.py'
    save_training('CHECKPOINT', depth=4)
    class_folders('data/custom/train', 'data/custom/val', images=3)
    held_out = 'test_cfg.held_out_dataloader'
    small = {'model.num_classes': 10, 'train_cfg.max_epochs': 1}
    for loader, dataset in (('val_dataloader', 'dataset.dataset'), (held_out, 'dataset.dataset'),
                            ('test_dataloader', 'dataset')):  # fmt: skip
        small |= {f'{loader}.num_workers': 0, f'{loader}.{dataset}.pipeline.1.resize': 32}
        small |= {f'{loader}.{dataset}.pipeline.1.crop': 32}
    train = 'train_dataloader'
    training = small | {f'{train}.batch_size': 5, f'{train}.num_workers': 0, f'{train}.persistent_workers': 0}
    training |= {f'{train}.dataset.dataset.dataset.pipeline.1.size': 32}
    results = trains_and_tests(name, 'epoch_1.pth', training, small)
    assert 0 <= results['linear/top1'] <= results['linear/top5'] <= 100 and 'linear/held_out_top1' in results


def test_segmentation_without_training_by_its_command(folder):
    name = 'probes/patches_folder.py'
    save_training('CHECKPOINT')
    for split in ('train', 'val'):
        lay_out_clip(f'DIR/{split}/images', f'DIR/{split}/masks', size=(96, 54))
    run(name, commands(name)[0], '--out', 'results.json', **{'model.short_side': 48})
    results = json.loads(Path('results.json').read_text())
    assert results['patch_knn/miou'] > 60 and 0 < results['patch_logistic/miou'] <= 100  # the clip stands still


def test_the_quickstart_by_its_command(folder, monkeypatch, capsys):
    """Segmentation, label propagation and scorecard take a minute: they are left out here, and run by .ci/run."""
    program = tool('quickstart')
    monkeypatch.setattr(program, 'measure_dense', lambda *_: {})
    monkeypatch.setattr(program, 'print_scorecard', lambda *_: None)
    monkeypatch.setattr(program, 'FRAMES', program.FRAMES[:1])
    monkeypatch.setattr(torch, 'set_num_threads', lambda number: None)  # tests have one
    class_folders('images', images=8)
    (words,) = commands(QUICKSTART)
    run('quickstart', words, *shlex.split('--images images --steps 1 --work-dir out'))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result['steps'] == 1
    assert 0 <= result['knn_top1_raw_pixels'] <= 100
    assert Path('out/epoch_1.pth').is_file() and list(Path('out').glob('backbone*'))
