"""k-NN during training: right numbers, at the right times, and a training that does not notice."""

import json
from pathlib import Path

import pytest
import torch
from small_training import build_runner, small_config
from torch.utils.data import DataLoader

from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import preserved_random_state
from dino_plugin.engine.training.hooks.knn import KNNHook
from dino_plugin.evaluation.classification.knn import knn_accuracy, leave_one_out_accuracy
from dino_plugin.evaluation.features.extraction import extract_features

PIPELINE = [dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')]


@pytest.fixture(scope='module')
def loaders(repository, tmp_path_factory):
    """Configs of bank and queries: ten classes, 5 and 2 images each."""
    root = tmp_path_factory.mktemp('folders')
    configs = []
    for split, count in (('train', 5), ('test', 2)):
        for source in (repository / 'tests/data/cifar10_mini' / split).iterdir():
            (root / split / source.name).mkdir(parents=True)
            for path in sorted(source.glob('*.jpg'))[:count]:
                (root / split / source.name / path.name).symlink_to(path)
        configs.append(
            dict(
                batch_size=16,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
                collate_fn=dict(type='dino_plugin.image_collate'),
                dataset=dict(
                    type='dino_plugin.ImageDataset', data_root=str(root / split), with_labels=True, pipeline=PIPELINE
                ),
            )
        )
    return dict(bank=configs[0], queries=configs[1])


def with_hook(config, loaders, **options):
    config.custom_hooks.append(dict(type='dino_plugin.KNNHook', **{'ks': (5, 20), **loaders, **options}))
    return config


def recorded(work_dir):
    """Step and top-1 with k = 5 of every evaluation."""
    (path,) = Path(work_dir).rglob('vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line['step']: line['knn/top1_k5'] for line in lines if 'knn/top1_k5' in line}


def scores_of(backbone, loaders):
    parts = []
    for loader in loaders.values():
        settings = loader['dataset']
        dataset = ImageDataset(data_root=settings['data_root'], with_labels=True, pipeline=PIPELINE)
        parts += extract_features(backbone, DataLoader(dataset, batch_size=50, collate_fn=image_collate))
    return knn_accuracy(*parts, ks=(5, 20))


def quick(work_dir, **changes):
    """3 iterations of 4 images an epoch, a checkpoint after the fourth.

    mmengine's own loop lets the random state run on from iteration to iteration, so any use of it would show.
    """
    config = small_config(
        work_dir,
        train_cfg__type='EpochBasedTrainLoop',
        train_dataloader__batch_size=4,
        train_dataloader__dataset__dataset__indices=12,
        default_hooks__checkpoint__interval=4,
        default_hooks__checkpoint__save_last=False,
    )
    config.merge_from_dict(changes)
    return config


@pytest.fixture(scope='module')
def runs(tmp_path_factory, loaders):
    """The same training without and with the hook, and their working directories."""
    root = tmp_path_factory.mktemp('runs')
    found = []
    for name in ('without', 'with'):
        config = quick(root / name)
        runner = build_runner(with_hook(config, loaders, interval=1) if name == 'with' else config)
        runner.train()
        found.append(runner)
    return found


def test_training_with_the_hook_equals_training_without_bit_for_bit(runs):
    states = [runner.model.state_dict() for runner in runs]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    moments = [runner.optim_wrapper.optimizer.state_dict()['state'] for runner in runs]
    assert all(torch.equal(moments[0][key]['exp_avg'], moments[1][key]['exp_avg']) for key in moments[0])
    histories = [runner.message_hub.get_scalar('train/loss').data[0].tolist() for runner in runs]
    assert len(histories[0]) == 6
    assert histories[0] == histories[1]
    modes = [{name: part.training for name, part in runner.model.named_modules()} for runner in runs]
    assert modes[0] == modes[1]


def test_the_last_numbers_are_those_of_the_teacher_that_remains(runs, loaders):
    runner = runs[1]
    for name, score in scores_of(runner.model.distillation.teacher.backbone, loaders).items():
        assert runner.message_hub.get_scalar(f'knn/{name}').current() == pytest.approx(score)
    assert list(recorded(runner.work_dir)) == [0, 3, 6]


def test_a_resumed_run_does_not_evaluate_before_it_goes_on(runs, loaders, tmp_path):
    config = with_hook(quick(tmp_path, **{'train_cfg.type': 'dino_plugin.ResumableEpochLoop'}), loaders, interval=1)
    config.resume, config.load_from = True, str(Path(runs[1].work_dir) / 'iter_4.pth')
    runner = build_runner(config)
    runner.train()
    assert list(recorded(tmp_path)) == [6]
    assert len(runner.message_hub.get_scalar('knn/top1_k5').data[0]) == 2 + 1


def test_the_interval_counts_epochs_and_the_last_is_never_left_out(loaders, tmp_path):
    config = quick(tmp_path, **{'train_cfg.max_epochs': 3})
    build_runner(with_hook(config, loaders, interval=2, before_training=False)).train()
    assert list(recorded(tmp_path)) == [6, 9]


def test_the_interval_counts_iterations_and_the_student_is_measured_on_request(loaders, tmp_path):
    runner = build_runner(with_hook(quick(tmp_path), loaders, interval=4, by_epoch=False, source='student'))
    runner.train()
    assert list(recorded(tmp_path)) == [0, 4, 6]
    score = scores_of(runner.model.distillation.student.backbone, loaders)['top1_k5']
    assert recorded(tmp_path)[6] == pytest.approx(score)


def test_without_queries_each_image_of_the_bank_is_judged_by_the_others(loaders, tmp_path):
    runner = build_runner(with_hook(quick(tmp_path), dict(bank=loaders['bank']), interval=1, ks=(5, 50)))
    runner.train()
    settings = loaders['bank']['dataset']
    dataset = ImageDataset(data_root=settings['data_root'], with_labels=True, pipeline=PIPELINE)
    teacher = runner.model.distillation.teacher.backbone
    parts = extract_features(teacher, DataLoader(dataset, batch_size=50, collate_fn=image_collate))
    assert recorded(tmp_path)[6] == pytest.approx(leave_one_out_accuracy(*parts, ks=(5,))['top1_k5'])
    assert 'knn/top1_k50' not in runner.message_hub.log_scalars  # 49 others


def test_mistakes_are_refused_before_training(tmp_path, loaders):
    with pytest.raises(ValueError, match='interval=0'):
        KNNHook(**loaders, interval=0)
    with pytest.raises(ValueError, match="got 'anchor'"):
        KNNHook(**loaders, source='anchor')
    config = with_hook(quick(tmp_path), dict(loaders, ks=(100,)))
    with pytest.raises(ValueError, match=r'None of ks=\(100,\) fits a bank of 50'):
        build_runner(config).train()


def test_random_states_are_put_back():
    import random

    import numpy as np

    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = draw()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    with pytest.raises(KeyError), preserved_random_state():
        draw()
        raise KeyError
    assert draw() == expected
