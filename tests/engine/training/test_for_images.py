"""The recipes for little data: their values follow from model.num_images, wherever that is set."""

import math
import re
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from small_training import small_config

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.engine.training.for_images import momentum_for_images, prototypes_for_images, value_for_images
from dino_plugin.openmmlab.config_files import config_path

METHODS = ('dino', 'ibot', 'dinov2')
NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)


def small_data(method: str) -> str:
    return f'dino_plugin::{method}/{method}_vit-small-p16_1xb64-coslr-200e_small-data.py'


def built(cfg: Config) -> torch.nn.Module:
    """Student, teacher, heads and losses of a recipe, with a small network and narrow heads."""
    cfg = Config(cfg.to_dict())
    cfg.model.backbone.update(NETWORK)
    for head in cfg.model.heads.values():
        head.update(hidden_dim=8, bottleneck_dim=4)
    return MODELS.build(cfg.model).distillation


@pytest.fixture
def inherited(tmp_path):
    """Method, and further lines -> a config of one's own that inherits from the method's recipe for little data."""

    def read(method: str, lines: str = '') -> Config:
        path = tmp_path / 'own.py'
        path.write_text(f'_base_ = {small_data(method)!r}\n{lines}\n')
        return Config.fromfile(path)

    return read


@pytest.mark.parametrize('set_by', ['inheritance', '--cfg-options'])
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('images', [1, 1000, 5000, 10_000, 50_000, 199_999])
def test_the_values_are_those_of_the_rule(method, images, set_by, inherited):
    """The rule as the recipe first computed it, while its file was read."""
    toward_imagenet = math.log(images / 10_000) / math.log(1_281_167 / 10_000)
    toward_imagenet = min(1.0, max(0.0, toward_imagenet))
    prototypes = min(65_536, max(512, 2 ** round(math.log2(images / 10))))

    if set_by == 'inheritance':
        cfg = inherited(method, f'model = dict(num_images={images})')
    else:
        cfg = inherited(method)
        cfg.merge_from_dict({'model.num_images': images})
    network = built(cfg)
    heads = {'cls', 'patch'} if method == 'dinov2' else {'cls'}
    assert {name: head.last_layer.out_features for name, head in network.student.heads.items()} == dict.fromkeys(
        heads, prototypes
    )
    assert network.momentum(0.0) == pytest.approx(1 - 1 / (100 + 150 * toward_imagenet), rel=1e-12)
    assert network.momentum(1.0) == 1
    for name in ('dino',) if method == 'dino' else ('dino', 'ibot'):
        temperature = network.losses[name].teacher_temperature
        assert temperature(0.0) == pytest.approx(0.025 + 0.015 * toward_imagenet, rel=1e-12)
        later = [temperature(progress) for progress in (0.1, 0.5, 1.0)]
        assert later == pytest.approx([0.025 + 0.045 * toward_imagenet] * 3, rel=1e-12)


def test_the_table_in_the_recipe_is_what_the_functions_compute():
    row = r'^#   (?:up to )?([\d,]+) +(?:[\d,]+-)?([\d,]+) +([\d.]+) +([\d.]+)(?: -> ([\d.]+))?( .*)?$'
    rows = re.findall(row, config_path(small_data('dino')).read_text(), flags=re.MULTILINE)
    assert [images for images, *_ in rows] == ['10,000', '50,000', '199,999', '1,281,167']
    for images, prototypes, momentum, coldest, warmest, _ in rows[:-1]:
        images = int(images.replace(',', ''))
        assert prototypes_for_images(images) == int(prototypes.replace(',', ''))
        assert momentum_for_images(images) == pytest.approx(float(momentum), abs=6e-4)
        assert value_for_images(0.025, 0.040, images) == pytest.approx(float(coldest), abs=6e-4)
        assert value_for_images(0.025, 0.070, images) == pytest.approx(float(warmest or coldest), abs=6e-4)


def test_a_line_ends_at_imagenets_value():
    """Half way in log(images): the geometric mean of 10,000 and 1,281,167."""
    assert value_for_images(3.0, 5.0, round(math.sqrt(10_000 * 1_281_167))) == pytest.approx(4.0, abs=1e-4)


def test_what_a_config_says_itself_wins_over_the_rule(inherited):
    cfg = inherited('dino', 'model = dict(momentum=0.98, num_images=50_000)')
    cfg.merge_from_dict({'model.heads.cls.prototypes': 768})
    network = built(cfg)
    assert network.student.heads['cls'].last_layer.out_features == 768
    assert network.momentum(0.0) == network.momentum(1.0) == 0.98
    cfg = inherited('dino')
    cfg.merge_from_dict({'model.num_images': 50_000, 'model.heads.cls.prototypes.num_images': 5000})
    network = built(cfg)
    assert network.student.heads['cls'].last_layer.out_features == 512
    assert network.momentum(0.0) == momentum_for_images(50_000)


def test_a_target_has_the_prototypes_that_its_head_computed(tmp_path):
    cfg = small_config(tmp_path, model__num_images=20_000)
    cfg.model.heads.cls.prototypes = dict(type='dino_plugin.prototypes_for_images')
    assert MODELS.build(cfg.model).distillation.losses['dino'].target.center.shape == (2048,)


def test_without_values_that_ask_for_it_the_number_of_images_changes_nothing(tmp_path):
    models = []
    for number in (None, 10**9):
        torch.manual_seed(0)
        models.append(MODELS.build(small_config(tmp_path, model__num_images=number).model))
    assert all(map(torch.equal, models[0].state_dict().values(), models[1].state_dict().values()))


@pytest.mark.parametrize('number', [None, 5000, 100_000])
def test_a_frozen_teacher_has_the_students_number_of_images_or_its_own(number, tmp_path):
    """Its heads must be those of its training, or its weights do not fit."""
    cfg = small_config(tmp_path, model__num_images=5000)
    cfg.model.heads.cls.prototypes = dict(type='dino_plugin.prototypes_for_images')
    frozen_teacher = Config(cfg.to_dict()).model
    frozen_teacher.num_images = number or 5000
    torch.save({'state_dict': MODELS.build(frozen_teacher).state_dict()}, tmp_path / 'frozen_teacher.pth')
    cfg.model.frozen_teacher = dict(
        checkpoint=str(tmp_path / 'frozen_teacher.pth'), heads=frozen_teacher.heads, backbone=frozen_teacher.backbone
    )
    if number:
        cfg.model.frozen_teacher.num_images = number
    if number == 100_000:
        with pytest.raises(ValueError, match='512 prototypes in the student and 8192 in the frozen teacher'):
            MODELS.build(cfg.model)
    else:
        head = MODELS.build(cfg.model).distillation.frozen_teacher.heads['cls']
        assert head.last_layer.out_features == 512


@pytest.mark.parametrize('function', [prototypes_for_images, momentum_for_images, lambda n: value_for_images(1, 2, n)])
@pytest.mark.parametrize('images', [-1, 0, 200_000, 1_281_167])
def test_a_number_that_the_rule_does_not_reach_is_refused_with_the_recipe_to_take(function, images):
    with pytest.raises(ValueError, match=f'num_images={images}: .* 1 to 199,999 images') as refusal:
        function(images)
    (recipe,) = re.findall(r'[\w/.-]+\.py', str(refusal.value))
    assert config_path(recipe).is_file()
    assert function(199_999) > function(1)


@pytest.mark.parametrize(
    ('number', 'said'),
    [('300_000', 'num_images=300000: the recipes for little data'), ('None', 'but num_images is not given')],
)
def test_the_program_answers_a_wrong_number_in_words(number, said, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, 'argv',
        ['train.py', small_data('dino'), '--work-dir', str(tmp_path), '--cfg-options', f'model.num_images={number}',
         f'experiment_name=images_{number}', *(f'model.backbone.{key}={value}' for key, value in NETWORK.items())],
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(repository / 'tools/train.py'), run_name='__main__')
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert 'model.num_images=5000' in message
    assert 'Traceback' not in message


def test_the_momentum_of_a_smaller_batch_averages_over_as_many_images():
    few = momentum_for_images(5000)
    assert few == pytest.approx(0.99)
    assert momentum_for_images(5000, batch=16) ** 4 == pytest.approx(few)  # four steps of 16 are one of 64
    assert momentum_for_images(5000, batch=128) == pytest.approx(few**2)
