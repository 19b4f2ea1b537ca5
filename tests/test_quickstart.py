"""What the quickstart makes of its arguments; tests/test_header_commands.py runs it."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from test_header_commands import PHOTOGRAPHS, tool


@pytest.fixture
def quickstart():
    return tool('quickstart')


def arguments(quickstart, *words: str) -> argparse.Namespace:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['quickstart.py', *words])
        return quickstart.parse_args()


def load(quickstart, *words: str):
    return quickstart.load_config(arguments(quickstart, *words))


@pytest.fixture
def photographs(tmp_path):
    """120 images in two folders."""
    for name in ('bird', 'cat'):
        (tmp_path / name).mkdir()
        for path in sorted((PHOTOGRAPHS / name).iterdir())[:60]:
            (tmp_path / name / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    ('words', 'epochs'),
    [((), 18), (('--full',), 22), (('--steps', '60'), 1), (('--full', '--steps', '157'), 3)],  # 78 steps each
)
def test_the_length_follows_the_recipe_or_the_steps(quickstart, words, epochs):
    assert load(quickstart, *words)[0].train_cfg.max_epochs == epochs


def test_own_images_are_trained_on_for_as_many_steps(quickstart, photographs):
    cfg, _ = load(quickstart, '--images', str(photographs))
    assert cfg.train_cfg.max_epochs == 18 * 78  # 96 of them are one batch


def test_of_own_images_with_classes_every_fifth_is_asked_about_and_never_trained_on(quickstart, photographs):
    cfg, hook = load(quickstart, '--images', str(photographs))
    trained, asked = cfg.train_dataloader.dataset.dataset.indices, hook.queries.dataset.indices
    assert asked == list(range(0, 120, 5))
    assert sorted(trained + asked) == list(range(120)) and hook.bank.dataset.indices == trained


def test_own_images_without_classes_are_not_classified(quickstart, photographs):
    (photographs / 'loose.jpg').symlink_to(next(iter((PHOTOGRAPHS / 'dog').iterdir())))
    cfg, hook = load(quickstart, '--images', str(photographs))
    assert hook is None and not any(hook.type.endswith('KNNHook') for hook in cfg.custom_hooks)


def test_pictures_show_own_images_or_frames(quickstart, photographs):
    assert 'images' not in load(quickstart, '--images', str(photographs))[0].default_hooks.pictures
    assert load(quickstart)[0].default_hooks.pictures.images.endswith('davis/JPEGImages/480p')


def test_too_few_images_are_refused(quickstart, photographs):
    with pytest.raises(ValueError, match=r'60 images .* are less than a batch of 64'):
        load(quickstart, '--images', str(photographs / 'bird'))


@pytest.mark.parametrize(('words', 'masks'), [((), False), (('--full',), True)])
def test_the_scorecard_looks_at_masks_in_the_full_form(quickstart, monkeypatch, words, masks):
    calls = []
    monkeypatch.setattr(subprocess, 'run', lambda command, check, env: calls.append((command, env['OMP_NUM_THREADS'])))
    quickstart.print_scorecard(Path('backbone.safetensors'), arguments(quickstart, *words), 3)
    ((command, threads),) = calls
    assert ('--masks' in command) is masks and threads == '3'
