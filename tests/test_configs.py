"""Every config loads, says what it costs, and trains; the recipes hold the published numbers."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from bundled import CIFAR, DAVIS
from channel_images import write_images
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from dino_plugin.commands import smoke
from dino_plugin.commands.few_images import loaders_of, nested
from dino_plugin.core.losses.coding_rate import coding_rate
from dino_plugin.data.sources.index_writing import index_shards
from dino_plugin.data.sources.shard_writing import write_shards
from dino_plugin.data.views.split_of_work import SPLITS
from dino_plugin.engine.training.nested_heads import with_nested_heads
from dino_plugin.openmmlab.config_files import config_path, config_root, find_config

ROOT = config_root()
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
# How each folder is tested: the first three here, the others by their own files.
METHODS = tuple(sorted(path.parent.name for path in ROOT.glob('*/metafile.yml')))  # folders of recipes that train
TRAINING = [name for name in CONFIGS if name.split('/')[0] in (*METHODS, 'quickstart')]
KNN = [name for name in CONFIGS if name.startswith('knn/')]
VIDEO = [name for name in CONFIGS if name.startswith('video/')]
ELSEWHERE = {
    'segmentation': 'test_segmentation.py',
    'detection': 'test_detection.py',
    'depth': 'evaluation/depth/test_depth_configs.py',
    'text': 'evaluation/text/test_text_configs.py',
    'classification': 'test_classification.py',
    'video_classification': 'evaluation/clips/test_video_classification.py',
    'retrieval': 'evaluation/retrieval/test_retrieval_metric.py',
    'attention': 'evaluation/attention/test_attention_metric.py',
    'discovery': 'evaluation/discovery/test_find.py',
    'probes': 'evaluation/segmentation/test_patches.py',
    'studies': 'commands/test_recipe_study.py',
}
VANILLA = 'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'
CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'


@cache
def shipped(name: str) -> dict:
    """What a config resolves to, read once; nobody changes it."""
    return Config.fromfile(config_path(name)).to_dict()


@cache
def inherited(name: str) -> Config:
    """As users get it: by a file of their own, outside the checkout, that inherits from it. Nobody changes it."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / 'own.py'
        own.write_text(f"_base_ = 'dino_plugin::{name}'\n")
        return Config.fromfile(own)


def load(name: str) -> Config:
    """A copy of what users get, to be changed."""
    return deepcopy(inherited(name))


def shrink(cfg: Config, images: Path, work_dir: Path, steps: int = 3) -> Config:
    """The same recipe as ``--smoke`` makes it, on these images, in one process."""
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}'
    smoke.shrink(cfg, batch_size=12 // steps, steps=steps, epochs=1)
    cfg.optim_wrapper.precision = 'fp32'
    for loader in loaders_of(cfg):
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    for dataset in nested(cfg.train_dataloader.dataset):
        if (dataset.get('pipeline') or [{}])[0].get('type') == 'dino_plugin.LoadChannels':
            channels = dataset.pipeline[0].num_channels
            images = write_images(work_dir / 'channels', sorted(images.glob('*.jpg')), channels)
        if dataset.get('type') == 'dino_plugin.ShardDataset' and images != work_dir / 'shards':
            samples = [dict(img_path=str(path)) for path in sorted(images.glob('*.jpg'))]
            write_shards(samples, images, work_dir / 'shards', images_per_shard=5)
            images = Path(index_shards(str(work_dir / 'shards')).index.path).parent
        for name in {'data_root', 'input_dir'} & dataset.keys():
            dataset[name] = str(images)
    for hook in cfg.custom_hooks:
        for loader in (hook[key] for key in ('bank', 'queries') if key in hook):
            # one image in fifty, of every class
            loader.dataset.update(data_root=str(CIFAR), indices=list(range(0, 1000, 50)))
    return cfg


class TeacherWatch(Hook):
    """Keeps what a step did to student and teacher."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.losses: list[dict] = []
        self.error_of_teacher: list[float] = []
        self.moved: list[float] = []

    def before_train(self, runner) -> None:
        network = runner.model.distillation
        self.first = [parameter.clone() for parameter in network.student.parameters()]
        assert all(map(torch.equal, network.teacher.parameters(), network.student.parameters()))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.before = [parameter.double() for parameter in runner.model.distillation.teacher.parameters()]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        network = runner.model.distillation
        momentum = network.momentum(runner.iter / runner.max_iters)
        errors = [
            (new - momentum * old - (1 - momentum) * student).abs().max() / old.abs().max().clamp(min=1)  # rounding
            for new, old, student in zip(network.teacher.parameters(), self.before, network.student.parameters())
        ]
        self.error_of_teacher.append(max(errors).item())
        self.losses.append({name: float(loss.detach()) for name, loss in outputs.items()})
        self.moved.append(max((a - b).abs().max().item() for a, b in zip(self.first, network.student.parameters())))


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_survives_being_written_and_read_again(name, tmp_path):
    inherited(name).dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == shipped(name)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_that_is_inherited_by_the_name_of_the_package_is_the_config(name):
    """No key more: mmengine adds ``_scope_`` to what other packages' bases hold."""
    assert inherited(name).to_dict() == shipped(name)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_copy_in_another_folder_is_the_config(name, tmp_path):
    copy = shutil.copy(config_path(name), tmp_path / 'copy.py')
    assert Config.fromfile(copy).to_dict() == shipped(name)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_opens_with_command_hardware_and_expected_result(name):
    header = re.match(r'(#[^\n]*\n)+', config_path(name).read_text())
    assert header, 'the config does not open with a comment'
    for word in ('Command', 'Hardware', 'Expected'):
        assert re.search(rf'^# {word}:', header[0], flags=re.MULTILINE), f'the header has no line "# {word}: ..."'


@pytest.mark.parametrize('name', TRAINING)
def test_a_config_trains(name, twelve_images, tmp_path):
    if 'lightly' in name or name.startswith(('baselines/', 'lejepa/')):
        pytest.importorskip('lightly', reason='the config uses Lightly, which is not installed')
    watch = TeacherWatch()
    runner = Runner.from_cfg(shrink(load(name), twelve_images, tmp_path))
    runner.register_hook(watch)
    runner.train()
    assert len(watch.losses) == 3
    assert all(torch.tensor(list(losses.values())).isfinite().all() for losses in watch.losses)
    assert watch.moved[-1] > 1e-6, 'the student did not move'
    assert max(watch.error_of_teacher) < 1e-7, 'the teacher did not move by 1 - momentum of the gap'
    gap = zip(runner.model.distillation.teacher.parameters(), runner.model.distillation.student.parameters())
    lags = runner.model.distillation.momentum(0.0) > 0  # without momentum the teacher is the student
    assert any(not torch.equal(teacher, student) for teacher, student in gap) == lags


def test_every_config_is_run_by_some_test():
    others = {name.split('/')[0] for name in CONFIGS if name not in [*TRAINING, *KNN, *VIDEO]}
    assert others == set(ELSEWHERE), (
        'a folder of recipes that train has a metafile.yml; other folders need a test that ELSEWHERE names'
    )
    for folder, file in ELSEWHERE.items():
        assert f'{folder}/' in (Path(__file__).parent / file).read_text()


@pytest.mark.parametrize('name', KNN)
def test_a_knn_config_runs(name, tmp_path):
    cfg = load(name)
    network = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    channels = len(cfg.model.get('data_preprocessor', {}).get('mean', 'RGB'))
    cfg.model.backbone = dict(type='dino_plugin.TimmBackbone', in_chans=channels, **network)
    for loader in (cfg.test_dataloader, cfg.test_cfg.bank_dataloader):
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
        loader.dataset.update(data_root=str(CIFAR), indices=list(range(0, 1000, 40)))
        if channels != 3:
            of_channels = write_images(tmp_path / 'channels', sorted(CIFAR.glob('*/*.jpg'))[::40], channels)
            loader.dataset.update(data_root=str(of_channels), indices=None)
        for step in loader.dataset.pipeline:
            if 'resize' in step:
                step.update(resize=36, crop=32)
    # Bank and queries are the same images here: the nearest neighbour is the image itself, and its vote decides.
    cfg.test_evaluator.temperature = 1e-3
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    results = Runner.from_cfg(cfg).test()
    assert results['knn/top1_k10'] == 100


@pytest.mark.parametrize('name', VIDEO)
def test_a_video_config_keeps_the_mask_of_a_video_that_stands_still(name, tmp_path):
    for kind, ending in (('JPEGImages', 'jpg'), ('Annotations', 'png')):
        folder = tmp_path / f'clips/{kind}/480p/still'
        folder.mkdir(parents=True)
        for number in range(4):
            shutil.copy(DAVIS / f'{kind}/480p/blackswan/00000.{ending}', folder / f'{number:05}.{ending}')
    cfg = load(name)
    network = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    cfg.model.backbone = dict(type='dino_plugin.TimmBackbone', **network)
    cfg.model.update(short_side=240, multiple=8)
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'clips')
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    results = Runner.from_cfg(cfg).test()
    assert (results['davis/clips'], results['davis/failed']) == (1, 0)
    assert results['davis/J-Mean'] > 70


def test_a_config_of_ones_own_needs_only_a_path(twelve_images, tmp_path):
    own = tmp_path / 'mine.py'
    own.write_text(
        f"_base_ = '{config_path(CUSTOM)}'\n"
        f"train_dataloader = dict(dataset=dict(dataset=dict(data_root='{twelve_images}')))\n"
    )
    cfg = Config.fromfile(own)
    assert cfg.train_dataloader.dataset.dataset.data_root == str(twelve_images)
    runner = Runner.from_cfg(shrink(cfg, twelve_images, tmp_path / 'work', steps=2))
    runner.train()
    assert runner.iter == 2


def test_another_tracker_is_two_lines_of_a_config(twelve_images, tmp_path):
    pytest.importorskip('tensorboard', reason='TensorBoard is not installed')
    cfg = load(CUSTOM)
    cfg.merge_from_dict({'visualizer.vis_backends': [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]})
    cfg.default_hooks.logger.interval = 1
    Runner.from_cfg(shrink(cfg, twelve_images, tmp_path, steps=1)).train()
    assert list(tmp_path.rglob('events.out.tfevents.*'))


def test_the_vanilla_recipe_is_dinos():
    cfg = load(VANILLA)
    head, loss = cfg.model.heads.cls, cfg.model.losses.dino
    assert (head.prototypes, head.hidden_dim, head.bottleneck_dim) == (65536, 2048, 256)
    assert (head.norm_last_layer, head.batch_norm) == (True, False)
    assert (loss.student_temperature, loss.target.momentum, loss.target.type) == (0.1, 0.9, 'dino_plugin.Centering')
    assert (loss.teacher_temperature.start, loss.teacher_temperature.then) == (0.04, 0.04)
    assert (cfg.model.momentum.start, cfg.model.momentum.end) == (0.996, 1.0)
    assert cfg.model.backbone.drop_path_rate == 0.1
    wrapper = cfg.optim_wrapper
    assert (wrapper.clip_mode, wrapper.max_norm) == ('parameter', 3.0)
    assert wrapper.freeze_last_layer * cfg.train_cfg.max_epochs == 1
    assert (wrapper.optimizer.lr, tuple(wrapper.optimizer.betas)) == (5e-4, (0.9, 0.999))
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=256)
    crop = cfg.train_dataloader.dataset.dataset.pipeline[1]
    assert (crop.global_size, crop.global_scale) == (224, (0.4, 1.0))
    assert (crop.local_size, crop.local_scale, crop.num_local) == (96, (0.05, 0.4), 8)


def base_statement(path: Path) -> ast.Assign | None:
    """The statement of a file that names its bases."""
    statements = ast.parse(path.read_text()).body
    return next(
        (line for line in statements if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == '_base_'), None
    )


def settings(name: str) -> int:
    """Lines of a config that set something: no comments, no empty lines, not the list of its bases."""
    base = base_statement(config_path(name))
    lines = enumerate(config_path(name).read_text().splitlines(), 1)
    named = range(base.lineno, base.end_lineno + 1) if base else ()
    return sum(
        line.strip() != '' and not line.lstrip().startswith('#') and number not in named for number, line in lines
    )


def longest_chain(path: Path) -> list[Path]:
    """A file, a base of it, a base of that …: the longest way to a file without a base."""
    base = base_statement(path)
    names = ast.literal_eval(base.value) if base else []
    files = [(path.parent / name).resolve() for name in ([names] if isinstance(names, str) else names)]
    return [path, *max(map(longest_chain, files), key=len, default=[])]


WHOLE = {  # nothing that could be shared is left in them: a first one of its kind, or a method with heads of its own
    'baselines/mocov2_vit-small-p16_8xb128-coslr-100e_in1k.py',
    'baselines/mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py',
    'baselines/mocov3_vit-tiny_1xb64-22e_cifar10-mini.py',
    'baselines/simclr_vit-small-p16_8xb128-coslr-100e_in1k.py',
    'baselines/simclr_vit-tiny_1xb64-22e_cifar10-mini.py',
    'baselines/swav_vit-small-p16_8xb128-coslr-100e_in1k.py',
    'baselines/swav_vit-tiny_1xb64-22e_cifar10-mini.py',
    'classification/vit-small-p16_finetune_8xb128-200e_in1k.py',
    'dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py',
    'discovery/token_cut_folder.py',
    'probes/linear-grid_vit-small-p16_8xb128-10e_in1k.py',
    'probes/patches_folder.py',
    'quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py',
    'studies/small-data_imagenette128.py',
    'video/davis_folder.py',
}


def test_a_recipe_says_in_fifteen_lines_what_is_special_in_it():
    assert {name for name in CONFIGS if settings(name) > 15} == WHOLE


def test_a_reader_opens_few_files():
    for path in ROOT.rglob('*.py'):
        chain = longest_chain(path)
        assert len(chain) <= 7, chain
        assert '_base_' not in path.parts or sum(file.parent == path.parent for file in chain) <= 3, chain


def test_the_map_names_every_config_and_every_base_and_nothing_else():
    text = (ROOT / 'README.md').read_text().split('## How a file name is read')
    named = re.findall(r'\]\(([^)]+)\)', text[0]) + re.findall(r'`([\w*.-]+/[\w*./-]+\.py)`', text[0])
    named += re.findall(r'^\| `(_base_/\S+)` \|', text[1], flags=re.MULTILINE)
    found = {path: set((ROOT.parent if path.startswith('tools/') else ROOT).glob(path)) for path in named}
    assert [path for path, files in found.items() if not files] == []
    bases = {path.relative_to(ROOT).as_posix() for path in (ROOT / '_base_').rglob('*.py')}
    assert {path for path in named if path.startswith('_base_/')} == bases
    missing = {ROOT / name for name in CONFIGS} - set().union(*found.values())
    assert not missing, 'name them in configs/README.md, above "How a file name is read"'
    assert {name.split('/')[0] for name in CONFIGS} <= {path.split('/')[0] for path in named}


def test_the_map_shows_how_to_see_all_values_of_a_recipe(repository):
    (lines,) = re.findall(r'```bash\n(CONFIG=.*?)```', (ROOT / 'README.md').read_text(), flags=re.DOTALL)
    code = lines.replace('python ', f'{shlex.quote(sys.executable)} ')
    shown = subprocess.run(['bash', '-ec', code], capture_output=True, text=True, cwd=repository)
    assert shown.returncode == 0, shown.stderr
    assert Config.fromstring(shown.stdout, '.py').to_dict() == shipped(VANILLA)


def test_the_config_of_ones_own_in_the_map_is_one(tmp_path):
    (code,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), flags=re.DOTALL)
    (tmp_path / 'own.py').write_text(code)
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert (cfg.model.num_images, cfg.train_dataloader.dataset.dataset.data_root) == (5000, 'path/to/images')
    cfg.merge_from_dict({'param_scheduler.0.schedule.share': 0.05})  # as the map says of --cfg-options
    assert cfg.param_scheduler[0].schedule.share == 0.05


def test_the_four_methods_are_a_few_lines_apart():
    chain = ('dino', 'ibot', 'dinov2', 'dinov3')
    for before, after in pairwise(chain):
        name = f'{after}/{after}_vit-small-p16_1xb64-coslr-100e_custom.py'
        assert longest_chain(config_path(name))[1] == config_path(name.replace(after, before))
        assert settings(name) <= 15


def losses_and_heads(name: str) -> dict[str, tuple]:
    return {
        loss: (config.type.removeprefix('dino_plugin.'), config.get('head'), config.get('target', {}).get('type'))
        for loss, config in load(name).model.losses.items()
    }


def test_a_method_is_the_losses_heads_and_targets_that_it_names():
    centred, balanced = 'dino_plugin.Centering', 'dino_plugin.SinkhornKnopp'
    ibot = {'dino': ('DINOLoss', 'cls', centred), 'ibot': ('IBOTPatchLoss', 'cls', centred)}
    koleo = {'koleo': ('KoLeoLoss', None, None)}
    two_heads = {'dino': ('DINOLoss', 'cls', balanced), 'ibot': ('IBOTPatchLoss', 'patch', balanced), **koleo}
    gram = {'gram': ('GramLoss', None, None)}
    assert losses_and_heads('ibot/ibot_vit-small-p16_16xb64-coslr-800e_in1k.py') == ibot
    assert losses_and_heads('dinov2/dinov2_vit-large-p16_32xb64-short-125k_in1k.py') == ibot | koleo
    assert losses_and_heads('dinov2/dinov2_vit-large-p14_96xb32-long-625k_in22k.py') == two_heads
    assert losses_and_heads('dinov3/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py') == two_heads
    assert losses_and_heads('dinov3/dinov3_vit-7b-p16_256xb16-gram-200k_folder.py') == two_heads | gram


@pytest.mark.parametrize(
    ('name', 'base', 'shares', 'sum_of_weights'),
    [
        ('franca_vit-tiny_1xb64-22e_cifar10-mini', 'dinov2_vit-tiny_1xb64-22e_cifar10-mini', 3, 1),
        ('franca_vit-small-p16_1xb64-coslr-100e_custom', 'dinov2_vit-small-p16_1xb64-coslr-100e_custom', 3, 1),
        ('franca_vit-base-p14_64xb32-long-625k_in22k', 'dinov2_vit-base-p14_96xb32-long-625k_in22k', 5, 5),
    ],
)
def test_nested_heads_read_halves_of_halves_and_have_prototypes_in_proportion(name, base, shares, sum_of_weights):
    recipe, plain = load(f'franca/{name}.py').model, load(f'dinov2/{base}.py').model
    all_heads, all_losses = with_nested_heads(recipe.heads, recipe.losses, recipe.nested_shares)
    for loss, whole in plain.losses.items():
        if loss == 'koleo':
            continue
        levels = [level for key, level in all_losses.items() if key.split('_')[0] == loss]
        heads = [all_heads[level['head']] for level in levels]
        assert [head.get('share', 1) for head in heads] == [0.5**level for level in range(shares)]
        prototypes = plain.heads[whole.head].prototypes
        assert [head['prototypes'] for head in heads] == [prototypes * 0.5**level for level in range(shares)]
        total = sum(level.get('weight', 1) for level in levels)
        assert total == pytest.approx(sum_of_weights * whole.get('weight', 1))
        assert all(level['target'] == whole.target for level in levels)
    assert all_losses['koleo'] == plain.losses.koleo


@pytest.mark.parametrize(
    ('name', 'warm_up'),
    [
        ('ibot/ibot_vit-small-p16_16xb64-coslr-800e_in1k.py', 30 / 800),
        ('dinov2/dinov2_vit-large-p16_32xb64-short-125k_in1k.py', 30 / 100),
        ('dinov2/dinov2_vit-giant-p14_256xb12-long-625k_in22k.py', 30 / 500),
        ('dinov3/dinov3_vit-large-p16_32xb64-short-125k_in1k.py', 30 / 100),
        ('dinov3/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py', 100 / 1000),
    ],
)
def test_teacher_temperatures_warm_up_as_published(name, warm_up):
    losses = load(name).model.losses
    for loss in (losses.dino, losses.ibot):
        assert loss.teacher_temperature == dict(type='dino_plugin.Warmup', start=0.04, share=warm_up, then=0.07)
        assert loss.student_temperature == 0.1


def peak_learning_rate(cfg: Config, batch: int) -> float:
    share = batch / cfg.auto_scale_lr.base_batch_size
    return cfg.optim_wrapper.optimizer.lr * (share**0.5 if cfg.auto_scale_lr.get('rule') == 'sqrt' else share)


@pytest.mark.parametrize(
    ('name', 'batch', 'iterations', 'rate', 'last_rate', 'decays', 'momenta', 'layer_decay', 'max_norm'),
    [
        ('dinov2_vit-large-p16_32xb64-short-125k_in1k', 2048, 125_000, 4e-3, 1e-6, (0.04, 0.4), (0.992, 1), 0.9, 3),
        ('dinov2_vit-giant-p14_256xb12-long-625k_in22k', 3072, 625_000, 2e-4, 1e-6, (0.04, 0.2), (0.994, 1), 1.0, 3),
        ('dinov3_vit-large-p16_32xb64-short-125k_in1k', 2048, 125_000, 4e-3, 1e-6, (0.04, 0.4), (0.992, 1), 0.9, 3),
        ('dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder', 4096, 1_000_000, 2e-4, 4e-4, (0.04,), 0.994, 0.98, 30),
        ('dinov3_vit-7b-p16_256xb16-gram-200k_folder', 4096, 200_000, 1.2e-4, 2.4e-4, (0.04,), 0.999, 0.98, 30),
    ],
)
def test_a_later_recipe_has_the_published_optimisation(
    name, batch, iterations, rate, last_rate, decays, momenta, layer_decay, max_norm
):
    cfg = load(f'{name.split("_")[0]}/{name}.py')
    assert int(re.search(r'_(\d+)xb', name)[1]) * cfg.train_dataloader.batch_size == batch
    assert cfg.train_cfg.max_iters == iterations
    assert peak_learning_rate(cfg, 1024) == rate
    schedule = cfg.param_scheduler[0].get('schedule')
    end = schedule if isinstance(schedule, float) else getattr(schedule.then, 'end', schedule.then)
    assert peak_learning_rate(cfg, batch) * end == pytest.approx(last_rate, rel=1e-2)
    wrapper = cfg.optim_wrapper
    assert decays[0] == wrapper.optimizer.weight_decay
    assert decays[1:] == tuple(
        pytest.approx(decays[0] * scheduler.schedule.end)
        for scheduler in cfg.param_scheduler
        if scheduler.param_name == 'weight_decay'
    )
    momentum = cfg.model.momentum
    assert momenta == (momentum if isinstance(momentum, float) else (momentum.start, momentum.end))
    assert wrapper.paramwise_cfg == dict(layer_decay=layer_decay, custom_keys=dict(patch_embed=dict(lr_mult=0.2)))
    assert (wrapper.clip_mode, wrapper.max_norm) == ('module', max_norm)


def test_dinov3_spreads_class_tokens_in_groups_of_16_at_higher_resolutions_and_on_each_gpu_before():
    stages = (('highres-30k', 5, (True, 16)), ('gram-200k', 5, (None, None)), ('pretrain-1000k', 6, (None, None)))
    for stage, number, rule in stages:
        names = [name for name in TRAINING if name.startswith('dinov3/') and stage in name]
        assert len(names) == number
        for name in names:
            koleo = load(name).model.losses.koleo
            assert (koleo.get('over_ranks'), koleo.get('group_size')) == rule, name


@pytest.mark.parametrize('name', [name for name in TRAINING if '/dinov' in name and 'tiny' not in name])
def test_ratios_of_masks_are_the_upper_edges_of_their_parts_with_dinov3_alone(name):
    collate = load(name).train_dataloader.collate_fn
    assert collate.get('upper_edges', False) == name.startswith('dinov3')
    if name.startswith('dinov3'):
        assert collate.get('stratified', True) and collate.min_patches == 4


FROM_TIMM = [name for name in TRAINING if re.search('tiny|baselines|resnet', name)]  # how weights start


@pytest.mark.parametrize('name', [name for name in TRAINING if name not in FROM_TIMM])
def test_class_tokens_and_registers_start_as_the_authors_draw_them(name):
    assert load(name).model.backbone.token_std == (1e-6 if re.search('dinov2|franca', name) else 0.02)


def test_recipes_with_measured_figures_start_as_they_did_and_the_resnet_as_torchvisions():
    for name in FROM_TIMM:
        assert 'token_std' not in load(name).model.backbone, name
    assert load('dino/dino_resnet50_8xb64-coslr-100e_in1k.py').model.backbone.zero_init_last is False


@pytest.mark.parametrize('name', [name for name in TRAINING if re.search('simdino.*_8xb', name)])
def test_simdinos_imagenet_recipes_have_the_authors_coding_rate_on_8_gpus(name):
    """Their formula counts the images of all GPUs, but sums over those of one."""
    cfg = load(name)
    images, gpus, dim, eps = cfg.train_dataloader.batch_size, 8, cfg.model.heads.cls.bottleneck_dim, 0.05
    features = torch.nn.functional.normalize(torch.randn(images, dim), dim=-1)
    scaled = dim / (images * gpus * eps) * features.T @ features
    theirs = torch.logdet(torch.eye(dim) + scaled) / 2 * (dim + gpus * images) / (dim * gpus * images)
    spread = cfg.model.losses.spread
    ours = spread.weight * (dim + images) / (dim * images) * coding_rate(features, spread.squared_error)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


PUBLISHED = {  # images a step, epochs, warm-up epochs, final learning rate, final teacher temperature
    'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py': (1024, 100, 10, 1e-6, 0.04),
    'dino/dino_vit-small-p16_16xb64-coslr-300e_in1k.py': (1024, 300, 10, 1e-6, 0.07),
    'dino/dino_vit-small-p16_16xb64-coslr-800e_in1k.py': (1024, 800, 10, 1e-5, 0.07),
    'dino/dino_vit-small-p8_64xb16-coslr-800e_in1k.py': (1024, 800, 10, 1e-5, 0.07),
    'dino/dino_vit-base-p16_32xb32-coslr-400e_in1k.py': (1024, 400, 10, 2e-6, 0.07),
    'dino/dino_vit-base-p8_64xb16-coslr-300e_in1k.py': (1024, 300, 10, 2e-6, 0.07),
    'dino/dino_resnet50_8xb64-coslr-100e_in1k.py': (512, 100, 10, 1e-6, 0.04),
    'dino/dino_vit-small-p16_1xb64-coslr-100e_in1k.py': (64, 100, 10, 1e-6, 0.04),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_recipe_counts_epochs_and_learning_rates_as_published(name):
    batch, epochs, warmup_epochs, final_rate, temperature = PUBLISHED[name]
    cfg = load(name)
    gpus, images = map(int, re.search(r'_(\d+)xb(\d+)-', name).groups())
    assert gpus * images == batch
    assert cfg.train_dataloader.batch_size == images
    assert cfg.train_cfg.max_epochs == epochs
    rate = cfg.param_scheduler[0].schedule
    assert rate.share * epochs == pytest.approx(warmup_epochs)
    peak = cfg.optim_wrapper.optimizer.lr * batch / cfg.auto_scale_lr.base_batch_size
    assert peak * rate.then.end == pytest.approx(final_rate)
    assert cfg.model.losses.dino.teacher_temperature.then == temperature


@pytest.mark.parametrize('name', [name for name in PUBLISHED if 'resnet' not in name])
def test_weight_decay_grows_tenfold_with_transformers(name):
    cfg = load(name)
    decay = cfg.param_scheduler[1]
    assert decay.param_name == 'weight_decay'
    assert cfg.optim_wrapper.optimizer.weight_decay * decay.schedule.start == pytest.approx(0.04)
    assert cfg.optim_wrapper.optimizer.weight_decay * decay.schedule.end == pytest.approx(0.4)


def test_the_resnet_recipe_is_the_authors_for_one_machine():
    cfg = load('dino/dino_resnet50_8xb64-coslr-100e_in1k.py')
    assert cfg.sync_bn == 'torch'
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4, fused=True)
    assert [scheduler.param_name for scheduler in cfg.param_scheduler] == ['lr'], 'weight decay stays as it is'
    crop = cfg.train_dataloader.dataset.dataset.pipeline[1]
    assert (crop.global_scale, crop.local_scale) == ((0.14, 1.0), (0.05, 0.14))
    assert 'drop_path_rate' not in cfg.model.backbone


def test_a_small_batch_gets_a_slow_teacher():
    assert load('dino/dino_vit-small-p16_1xb64-coslr-100e_in1k.py').model.momentum.start == 0.9995


def test_a_config_is_found_by_its_name_with_and_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(VANILLA) == find_config(f'configs/{VANILLA}') == config_path(VANILLA)
    own = tmp_path / 'mine.py'
    own.write_text('')
    assert find_config('mine.py').resolve() == own


def test_a_misspelt_config_is_answered_with_similar_names():
    with pytest.raises(FileNotFoundError, match=re.escape(VANILLA)):
        config_path('dino/dino_vit-small-p16_8xb128_in1k.py')


def test_the_model_index_lists_every_recipe_and_claims_no_weights():
    index = yaml.safe_load((ROOT.parent / 'model-index.yml').read_text())
    listed = []
    for path in index['Import']:
        metafile = yaml.safe_load((ROOT.parent / path).read_text())
        collections = {collection['Name']: collection for collection in metafile.get('Collections', [])}
        for collection in collections.values():
            assert (ROOT.parent / collection['README']).is_file()
            assert (ROOT.parent / collection['Code']['URL']).is_file()
        for model in metafile['Models']:
            assert model['In Collection'] in collections
            assert 'Weights' not in model
            assert 'Results' not in model
            assert Path(model['Config']).stem == model['Name']
            listed.append(model['Config'].removeprefix('configs/'))
    assert len(listed) == len(set(listed))
    missing = {name for name in TRAINING if name.split('/')[0] in METHODS} - set(listed)
    assert not missing, 'add an entry to the metafile.yml of its folder, and that file to model-index.yml'
    assert set(listed) <= set(CONFIGS)


@pytest.mark.parametrize('method', METHODS)
def test_metafile_numbers_are_the_configs(method):
    metafile = yaml.safe_load((ROOT / method / 'metafile.yml').read_text())
    for model in metafile['Models']:
        cfg = load(model['Config'].removeprefix('configs/'))
        gpus = int(re.search(r'_(\d+)xb', model['Name'])[1])
        length = {'Epochs': 'max_epochs', 'Iterations': 'max_iters'}
        assert [model['Metadata'].get(key) for key in length] == [cfg.train_cfg.get(key) for key in length.values()]
        assert model['Metadata']['Batch Size'] == gpus * cfg.train_dataloader.batch_size


@pytest.mark.parametrize('split', SPLITS)
def test_each_split_has_a_config_that_differs_from_the_vanilla_run_in_nothing_else(split):
    vanilla, preset = load(VANILLA), load(VANILLA.replace('.py', f'_split-{split}.py'))
    vanilla.train_dataloader.dataset.dataset.pipeline[1].split = split
    assert preset.to_dict() == vanilla.to_dict()
