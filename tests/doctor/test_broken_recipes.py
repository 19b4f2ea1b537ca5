"""Small real trainings: a sound one is left alone, and each way to break it is noticed."""

import logging

import pytest
from small_training import small_config

from dino_plugin.doctor import before_training
from dino_plugin.doctor.examine import examine

BATCH_NORM = 'model__heads__cls__batch_norm'


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes longer than all the rest."""
    monkeypatch.setattr(before_training, 'draw_schedule', lambda curves, steps, path: path)


def warned(folder, steps=5, **changes):
    """Subjects of faults, warnings and, with their level, of what is unlike healthy trainings."""
    # 200 steps, so that the teacher of momentum 0.9 is no slow one, and the first 5 are 2 % of them
    config = small_config(folder, **{'train_cfg__max_epochs': 34, BATCH_NORM: True, **changes})
    config.default_scope = 'mmengine'
    config.experiment_name = f'doctor_{folder.name}'
    found = examine(config, folder / 'out', steps, experiments=False)
    logging.getLogger('mmengine').handlers.clear()
    return {subject for level, subject, *_ in found.findings if level in ('fault', 'warning')}, found


def test_a_sound_training_is_left_alone_and_all_is_looked_at(tmp_path):
    wrong, found = warned(tmp_path)
    assert wrong == set()
    subjects = {finding.subject for finding in found.findings}
    assert {'learning rates', 'order of images', 'augmentation', 'patches', 'information of dino'} <= subjects


def test_several_things_that_are_wrong_are_noticed_together(tmp_path):
    units = dict(type='dino_plugin.ViewPreprocessor', mean=[0.5] * 3, std=[0.2] * 3)  # not in levels
    wrong, _ = warned(
        tmp_path,
        steps=0,
        train_dataloader__sampler__shuffle=False,
        model__momentum=1.0,
        model__losses__dino__teacher_temperature=0.1,
        model__data_preprocessor=units,
        optim_wrapper__optimizer__weight_decay=4.0,
        optim_wrapper__freeze_backbone=1.0,
        optim_wrapper__optimizer__lr=1e-1,
        model__heads__cls__prototypes=2,
        train_dataloader__dataset__dataset__pipeline__1__global_scale=(0.01, 0.02),
    )
    expected = {
        'order of images',
        'teacher momentum',
        'temperatures of dino',
        'normalisation',
        'weight decay',
        'freeze',
        'size of the learning rate',
        'prototypes of cls',
        'crops',
    }
    assert wrong == expected


def test_a_student_that_stands_still_is_noticed(tmp_path):
    wrong, _ = warned(tmp_path, steps=4, model__momentum=0.0, optim_wrapper__optimizer__lr=0.0)
    assert wrong == {'learning rate', 'teacher momentum', 'distance'}


def test_a_flat_teacher_tells_nothing_and_is_noticed_in_the_first_steps(tmp_path):
    wrong, _ = warned(tmp_path, model__losses__dino__teacher_temperature=5.0)
    assert 'information of dino' in wrong


def test_views_without_augmentation_are_noticed(tmp_path):
    still = {f'{name}_probability': 0.0 for name in ('jitter', 'greyscale', 'blur', 'solarize')}
    config = small_config(tmp_path)
    config.train_dataloader.dataset.dataset.pipeline[1].update(
        global_scale=(1.0, 1.0), flip_probability=0.0, photometric=still
    )
    found = examine(config, tmp_path / 'out', 0, experiments=False)
    assert 'augmentation' in {subject for level, subject, *_ in found.findings if level == 'warning'}
