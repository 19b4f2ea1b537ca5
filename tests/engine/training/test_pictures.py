"""Pictures during training: right ones, in every backend, and a training that does not notice."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from processes import run_in_processes
from small_training import build_runner, small_config
from torch import nn

from dino_plugin.data.images.decoding import UndecodableImageError, read_image
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.engine.training.hooks.pictures import PicturesHook
from dino_plugin.evaluation.attention.images import attention_of_image
from dino_plugin.visualization.attention import heads_sheet
from dino_plugin.visualization.contact_sheet import views_sheet

IMAGES = sorted((CIFAR / 'bird').glob('*.jpg'))[:5]
FIRST = str(IMAGES[0])


def with_pictures(work_dir, changes=(), **options):
    config = small_config(work_dir, **dict(changes))
    config.custom_hooks.append(dict(type='dino_plugin.PicturesHook', **{'size': 32, 'number': 2, **options}))
    return config


def pictures(work_dir) -> dict[str, np.ndarray]:
    """Those of mmengine's LocalVisBackend, in RGB."""
    paths = sorted(Path(work_dir).rglob('vis_image/*.png'))
    return {path.stem: cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths}


def hook_of(runner) -> PicturesHook:
    return next(hook for hook in runner.hooks if isinstance(hook, PicturesHook))


def weights(runner) -> dict:
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of two epochs with pictures, and where it wrote."""
    folder = tmp_path_factory.mktemp('pictures')
    runner = build_runner(with_pictures(folder, interval=1))
    runner.train()
    return runner, folder


def test_every_look_is_drawn_and_the_last_shows_the_teacher_that_remains(trained):
    runner, folder = trained
    found = pictures(folder)
    steps = (0, 6, 12)
    names = {'pictures_views_0', *(f'pictures_{kind}_{step}' for kind in ('attention', 'pca') for step in steps)}
    assert found.keys() == names
    dataset = runner.train_dataloader.dataset
    images = [read_image(dataset.path_of(index)) for index in (0, 50)]  # spread over 100
    teacher = runner.model.distillation.teacher.backbone
    maps = [attention_of_image(teacher, image, (-1,), 32)[0].class_maps()[0].detach().numpy() for image in images]
    assert (found['pictures_attention_12'] == heads_sheet(images, maps)).all()
    assert (found['pictures_attention_12'] != found['pictures_attention_0']).any()
    assert (found['pictures_views_0'] == views_sheet(dataset, 2)).all()


def test_training_does_not_notice(trained, tmp_path):
    runner, _ = trained
    plain = build_runner(small_config(tmp_path))
    plain.train()
    ours, theirs = weights(runner), weights(plain)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for kind in ('teacher', 'student'):
        modes = [[part.training for part in getattr(one.model.distillation, kind).modules()] for one in (runner, plain)]
        assert modes[0] == modes[1]
    assert all(one.grad is None for one in runner.model.distillation.teacher.parameters())


def test_what_is_drawn_at_random_leaves_the_random_numbers_of_training_as_they_are(trained, monkeypatch):
    runner, _ = trained
    drawn = []
    monkeypatch.setattr(PicturesHook, '_pca', lambda *_: drawn.append((torch.rand(1), np.random.rand())))
    state = torch.get_rng_state(), np.random.get_state()[1:3]
    hook_of(runner)._look(runner, 99)
    assert len(drawn) == 1
    assert torch.equal(torch.get_rng_state(), state[0])
    numbers, place = np.random.get_state()[1:3]
    assert (numbers == state[1][0]).all() and place == state[1][1]


def test_a_resumed_run_ends_with_the_weights_and_pictures_of_an_unbroken_one(trained, tmp_path):
    unbroken, folder = trained
    config = with_pictures(tmp_path, interval=1)
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=4)
    runner = build_runner(config)
    runner.train()
    config = with_pictures(tmp_path / 'resumed', interval=1)
    config.resume, config.load_from = True, str(tmp_path / 'iter_8.pth')
    resumed = build_runner(config)
    resumed.train()
    ours, theirs = weights(resumed), weights(unbroken)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    found, expected = pictures(tmp_path / 'resumed'), pictures(folder)
    assert 'pictures_attention_6' not in found and 'pictures_attention_0' not in found
    for name in ('pictures_attention_12', 'pictures_pca_12'):
        assert (found[name] == expected[name]).all(), name


def test_iterations_count_in_a_run_by_iterations_and_the_student_can_be_drawn(tmp_path):
    options = dict(interval=4, by_epoch=False, before_training=False, source='student', number=1, size=None)
    runner = build_runner(with_pictures(tmp_path, {'train_cfg__max_epochs': 1}, **options))
    runner.train()
    found = pictures(tmp_path)
    assert sorted(name for name in found if 'pca' in name) == ['pictures_pca_4', 'pictures_pca_6']
    assert 'pictures_views_4' in found and 'pictures_views_6' not in found
    image = read_image(runner.train_dataloader.dataset.path_of(0))
    student = runner.model.distillation.student.backbone
    heads = attention_of_image(student, image, (-1,), 64)[0].class_maps()[0].detach().numpy()
    assert (found['pictures_attention_6'] == heads_sheet([image], [heads])).all()


class Stub:
    """What the hook asks a runner for, without training; it remembers the log and the pictures."""

    def __init__(self, backbone=None, dataset=None, backend=None):
        from types import SimpleNamespace as Names

        self.lines, self.sent = [], []
        self.logger = Names(info=self.lines.append, warning=self.lines.append)
        self.model, self.model.data_preprocessor = nn.Module(), ViewPreprocessor()
        self.model.distillation = nn.ModuleDict({'teacher': nn.ModuleDict({'backbone': backbone})})
        self.train_dataloader = Names(dataset=dataset)
        self.visualizer = Names(_vis_backends={'own': backend or Names(add_image=lambda *sent: self.sent.append(sent))})
        self.iter = 0


def files(paths) -> SeededDataset:
    from dino_plugin.data.images.image_dataset import ImageDataset

    dataset = ImageDataset(data_root=str(CIFAR), lazy_init=True)
    dataset.load_data_list = lambda: [dict(img_path=str(path)) for path in paths]
    dataset.full_init()
    return SeededDataset(dataset)


def network(name='vit_tiny_patch16_224', **arguments):
    from dino_plugin.backbones.timm_backbone import TimmBackbone

    torch.manual_seed(0)
    small = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2) if 'vit' in name else {}
    return TimmBackbone(name, **small | arguments)


def test_of_a_convolutional_network_the_colours_are_drawn_and_one_line_says_what_is_missing():
    runner = Stub(network('resnet10t'))
    hook = PicturesHook(images=FIRST, size=64)
    hook._views_drawn = True
    hook.prepare(runner)
    for step in (0, 5):
        hook._look(runner, step)
    assert [(name, step) for name, _, step in runner.sent] == [('pictures_pca', 0), ('pictures_pca', 5)]
    (line,) = [line for line in runner.lines if 'no picture' in line]
    assert line.startswith('no picture of attention: ResNet is a convolutional network')


def test_colours_keep_their_meaning_when_the_features_are_turned():
    runner = Stub(backbone := network())
    hook = PicturesHook(images=str(CIFAR / 'bird'), size=64, number=3)
    hook._views_drawn = True
    hook.prepare(runner)
    hook._look(runner, 0)
    with torch.no_grad():  # the same features, mirrored
        backbone.model.norm.weight.neg_()
    hook._look(runner, 1)
    first, second = (picture.astype(int) for name, picture, _ in runner.sent if name == 'pictures_pca')
    assert abs(first - second).mean() < 3


def test_users_images_are_spread_over_their_folder(tmp_path):
    for path in IMAGES:
        (tmp_path / path.name).symlink_to(path)
    hook = PicturesHook(images=str(tmp_path), number=2)
    hook.prepare(Stub())
    expected = [read_image(IMAGES[place]) for place in (0, 2)]
    assert len(hook.images) == 2 and all((a == b).all() for a, b in zip(hook.images, expected))


def test_no_images_are_no_pictures():
    runner = Stub(network())
    hook = PicturesHook(images=FIRST, number=0)
    hook.prepare(runner)
    hook._look(runner, 0)
    assert runner.sent == runner.lines == []


def test_a_training_image_that_cannot_be_read_is_left_out(tmp_path):
    damaged = tmp_path / 'damaged.jpg'
    damaged.write_bytes(IMAGES[0].read_bytes()[:300])
    runner = Stub(network(), files([damaged, IMAGES[1]]))
    hook = PicturesHook(size=32)
    hook.prepare(runner)
    assert len(hook.images) == 1 and (hook.images[0] == read_image(IMAGES[1])).all()
    assert len(runner.lines) == 1 and 'damaged.jpg' in runner.lines[0] and 'images=...' in runner.lines[0]


def test_a_network_for_other_channels_than_rgb_shows_its_views_alone():
    runner = Stub(network(in_chans=5), files(IMAGES))
    hook = PicturesHook(size=32)
    hook.prepare(runner)
    hook._views_drawn = True  # none of the stub's dataset
    hook._look(runner, 0)
    assert runner.sent == []
    assert runner.lines == ['pictures of views alone: the network takes 5 channels, the others show RGB.']


def test_without_any_readable_image_nothing_is_drawn_and_nothing_fails(tmp_path):
    runner = Stub(network(), files([tmp_path / 'missing.jpg']))
    hook = PicturesHook(size=32)
    hook.prepare(runner)
    hook._look(runner, 0)
    assert runner.sent == [] and len(runner.lines) == 2  # the file, and the views


def test_a_backend_that_fails_does_not_end_the_training():
    class Full:
        def add_image(self, name, image, step):
            raise OSError('No space left on device')

    runner = Stub(network(), backend=Full())
    hook = PicturesHook(images=FIRST, size=32)
    hook._views_drawn = True
    hook.prepare(runner)
    for step in (0, 1):
        hook._look(runner, step)
    assert runner.lines == [f'no picture of {kind}: No space left on device' for kind in ('attention', 'pca')]


def only_the_first_draws(rank):
    runner = Stub(network())
    hook = PicturesHook(images=FIRST, size=32)
    hook._views_drawn = True
    hook.prepare(runner)
    hook._look(runner, 0)
    assert len(runner.sent) == (0 if rank else 2)


def test_only_the_first_process_draws():
    run_in_processes(only_the_first_draws)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(number=-1), 'number=-1 must be at least 0'),
        (dict(size=0), 'size=0 at least 1'),
        (dict(interval=0), 'interval=0 must be at least 1'),
        (dict(source='both'), "source must be 'teacher' or 'student', got 'both'"),
    ],
)
def test_mistakes_are_told_when_the_hook_is_built(options, message):
    with pytest.raises(ValueError, match=f'PicturesHook: .*{message}'):
        PicturesHook(**options)


def test_users_images_that_do_not_exist_or_are_none_are_told_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.jpg'):
        PicturesHook(images=str(tmp_path / 'missing.jpg')).prepare(Stub())
    with pytest.raises(ValueError, match='no image in'):
        PicturesHook(images=str(tmp_path)).prepare(Stub())
    (tmp_path / 'text.jpg').write_text('no image')
    with pytest.raises(UndecodableImageError, match=r'text\.jpg'):
        PicturesHook(images=str(tmp_path)).prepare(Stub())


def draw_in(backend: dict, tmp_path) -> None:
    """Two looks by a visualizer with this backend."""
    from mmengine.visualization import Visualizer

    runner = Stub(network())
    runner.visualizer = Visualizer(name=f'pictures_{tmp_path.name}', vis_backends=[backend], save_dir=str(tmp_path))
    if 'MLflow' in backend['type']:  # cannot be closed without
        runner.visualizer.add_config(Config(dict(work_dir=str(tmp_path))))
    hook = PicturesHook(images=FIRST, size=32)
    hook._views_drawn = True
    hook.prepare(runner)
    for step in (0, 7):
        hook._look(runner, step)
    runner.visualizer.close()
    assert not [line for line in runner.lines if 'no picture' in line]


def test_tensorboard_shows_the_pictures(tmp_path):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    draw_in(dict(type='TensorboardVisBackend'), tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / 'vis_data')).Reload()
    assert sorted(events.Tags()['images']) == ['pictures_attention', 'pictures_pca']
    found = events.Images('pictures_attention')
    assert [event.step for event in found] == [0, 7]
    shown = cv2.imdecode(np.frombuffer(found[1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR_RGB)
    image = read_image(FIRST)
    maps = attention_of_image(network(), image, (-1,), 32)[0].class_maps()[0].detach().numpy()
    assert (shown == heads_sheet([image], [maps])).all()


def test_wandb_stores_the_pictures(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    draw_in(dict(type='WandbVisBackend'), tmp_path)
    stored = [path.name for path in tmp_path.rglob('media/images/*.png')]
    assert sorted(name.rsplit('_', 2)[0] for name in stored) == ['pictures_attention'] * 2 + ['pictures_pca'] * 2


def test_mlflow_stores_the_pictures(tmp_path, monkeypatch):
    pytest.importorskip('mlflow')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    draw_in(dict(type='MLflowVisBackend'), tmp_path)
    stored = sorted(path.name for path in tmp_path.rglob('artifacts/*.png'))
    assert stored == [f'pictures_{kind}_{step}.png' for kind in ('attention', 'pca') for step in (0, 7)]
