"""The scorecard's measures during training: right numbers, in every process, and mistakes told before training."""

import json
from pathlib import Path

import pytest
import torch
from bundled import CIFAR, DAVIS
from processes import run_in_processes
from small_training import build_runner, small_config

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.engine.training.hooks.online_evaluation import OnlineEvaluationHook
from dino_plugin.evaluation.scorecard.measures import measure


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two classes with ten photographs each, and two frames with masks."""
    root = tmp_path_factory.mktemp('data')
    for name in ('bird', 'ship'):
        (root / 'images' / name).mkdir(parents=True)
        for path in sorted((CIFAR / name).glob('*.jpg'))[:10]:
            (root / 'images' / name / path.name).symlink_to(path)
    for kind in ('JPEGImages', 'Annotations'):
        (root / 'masks' / kind).mkdir(parents=True)
        for path in sorted(sorted((DAVIS / kind / '480p').iterdir())[0].iterdir())[:2]:
            (root / 'masks' / kind / path.name).symlink_to(path)
    birds, ships = (sorted((root / 'images' / name).iterdir()) for name in ('bird', 'ship'))
    rows = [f'images/bird/{bird.name},images/ship/{ship.name}' for bird, ship in zip(birds, ships)]
    (root / 'pairs.csv').write_text('\n'.join(['first,second', *rows]))
    return dict(images=str(root / 'images'), masks=str(root / 'masks'), pairs=str(root / 'pairs.csv'))


def test_the_last_numbers_are_those_of_the_teacher_that_remains(data, tmp_path):
    config = small_config(tmp_path)
    options = dict(
        image_size=32, short_side=64, measures=['classes', 'attention Jaccard', 'pairs'], interval=1, by_epoch=False
    )
    config.custom_hooks.append(dict(type='dino_plugin.OnlineEvaluationHook', **data, **options))
    runner = build_runner(config)
    runner.train()
    (path,) = Path(tmp_path).rglob('vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [line for line in lines if 'online/k-NN' in line]
    assert [line['step'] for line in found] == list(range(runner.max_iters + 1))
    hook = OnlineEvaluationHook(**data, **options)
    hook.prepare(runner)
    model = getattr(runner.model, 'module', runner.model)
    expected = measure(model.distillation.teacher.backbone, hook.card, measures=options['measures'])
    assert {
        'k-NN',
        'linear',
        'pairs found',
        'attention Jaccard, mean map',
    } <= expected.keys() and 'LiDAR' not in expected
    for name, value in expected.items():
        assert found[-1][f'online/{name}'] == pytest.approx(value, abs=1e-3), name


def same_numbers(rank, data):
    torch.manual_seed(0)
    backbone = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    if rank:  # what another process computed would differ
        torch.nn.init.zeros_(backbone.model.norm.weight)
    hook = OnlineEvaluationHook(images=data['images'], image_size=32, measures=['spectrum'])
    hook.prepare(None)
    found = hook.evaluate(None, backbone)
    torch.manual_seed(0)
    own = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    assert found == measure(own, hook.card, measures=['spectrum'])


def test_each_process_has_the_numbers_of_the_first(data):
    run_in_processes(same_numbers, data)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), 'give a folder of images, masks or clips'),
        (dict(images='x', measures=['k-NN', 'classes']), r"measures=\['k-NN'\] are unknown; use some of \['classes'"),
        (dict(images='x', interval=0), 'interval=0 must be at least 1'),
        (dict(images='x', source='both'), "source must be 'teacher' or 'student', got 'both'"),
    ],
)
def test_mistakes_are_told_when_the_hook_is_built(options, message):
    with pytest.raises(ValueError, match=f'OnlineEvaluationHook: .*{message}'):
        OnlineEvaluationHook(**options)
