"""A plan, computed from shapes, agrees with real steps and with formulas written by hand."""

import json
import runpy
import sys

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.plan.example import SAMPLES, examples
from dino_plugin.plan.live_bytes import LiveBytes
from dino_plugin.plan.needs import GIB, Machine, as_dict, measured
from dino_plugin.plan.operations import Operations
from dino_plugin.plan.shapes import model_in_shapes
from dino_plugin.plan.step import as_on_a_gpu, measured_step, run_step, size_of
from dino_plugin.plan.table import verdict
from dino_plugin.weights.positions import cached_weights

RECIPE = 'dinov2/dinov2_vit-tiny_1xb64-22e_cifar10-mini.py'
OPTIONS = ['model.backbone.depth=2', 'model.num_images=5000']


def recipe(**options) -> Config:
    cfg = Config.fromfile(config_path(RECIPE))
    cfg.merge_from_dict({'train_dataloader.batch_size': SAMPLES, 'model.backbone.depth': 2, **options})
    return cfg


@pytest.mark.parametrize(('precision', 'checkpointing'), [('fp32', False), ('bf16', True)])
def test_a_step_in_shapes_takes_what_a_real_one_takes(precision, checkpointing):
    cfg = recipe(**{'optim_wrapper.precision': precision, 'model.backbone.gradient_checkpointing': checkpointing})
    in_shapes = model_in_shapes(cfg)
    (example,) = examples(cfg, in_shapes.data_preprocessor)
    cached_weights.cache_clear()
    planned = measured_step(in_shapes, cfg.optim_wrapper.to_dict(), example.of(SAMPLES))
    assert cached_weights.cache_info().currsize == 0  # tensors without numbers would spoil real steps
    real = MODELS.build(cfg.model).train()
    with as_on_a_gpu(real):
        taken = run_step(real, build_optim_wrapper(real, cfg.optim_wrapper), example.views)
    assert planned._replace(activations=0) == taken._replace(activations=0)
    # In bf16 12 kB of 13 MB differ.
    assert planned.activations == pytest.approx(taken.activations, rel=0 if precision == 'fp32' else 1e-3)
    assert planned.gradients == size_of(weight for weight in real.parameters() if weight.requires_grad)
    moments = 2 * planned.gradients
    assert moments < planned.optimizer < 1.001 * moments  # Adam's, and a count of steps for each tensor


def test_live_bytes_are_those_of_the_tensors_that_something_holds():
    x = torch.ones(1000)
    with LiveBytes([x]) as live:
        kept = x.exp()
        _ = (kept + 1).sum()  # 4,000 bytes on the way, 4 that stay
        del kept
        view = x.view(10, 100)
    assert (live.now, live.peak) == (4, 8004)
    assert view.shape == (10, 100)


def test_operations_are_those_of_the_formula():
    width, depth, heads, patch, images = 64, 3, 2, 8, 2
    network = timm.create_model(
        'vit_tiny_patch16_224', img_size=32, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads,
        num_classes=0,
    )  # fmt: skip
    patches = (32 // patch) ** 2
    tokens = patches + 1
    embedding = 2 * patches * 3 * patch**2 * width
    products, attention = depth * 24 * tokens * width**2, depth * 4 * tokens**2 * width
    with Operations() as operations:
        output = network(torch.zeros(images, 3, 32, 32))
    assert operations.total == images * (embedding + products + attention)
    with operations:  # twice the products; attention as five of them, not two; no gradient of the images
        output.sum().backward()
    assert operations.total == images * (2 * embedding + 3 * products + 3.5 * attention)


def test_the_largest_batch_fits_and_one_image_more_does_not():
    found = measured(recipe())
    machine = Machine(gpus=4, memory=0.5, reserve=0.1)
    plan = as_dict(found, machine, images=1e6)
    for way, sharded in dict(data_parallel=False, sharded=True).items():
        batch = plan['largest_batch'][way]
        assert found.memory(4, sharded, batch).gib <= 0.4 < found.memory(4, sharded, batch + 1).gib
    one, four = found.memory(1, True), found.memory(4, True)
    assert four.teacher * 4 == one.teacher
    assert four.activations == one.activations
    ((_, step, _),) = found.steps
    assert found.memory(4, False).gib == pytest.approx(found.memory(1, False).gib + step.gradients / GIB)
    seconds = 1e6 * found.operations / (4 * 0.4 * 989e12)
    assert plan['hours'] * 3600 == pytest.approx(seconds)
    assert 'It fits in 0.5 GiB' in verdict(plan)
    tight = as_dict(found, machine._replace(memory=0.11), None)
    assert f'--batch-size {tight["largest_batch"]["sharded"]}' in verdict(tight) or 'Not even' in verdict(tight)


def test_the_program_prints_the_plan_and_writes_it(tmp_path, monkeypatch, capsys, repository):
    file = tmp_path / 'plan.json'
    monkeypatch.setattr(sys, 'argv', ['plan.py', RECIPE, '--gpus', '2', '--json', str(file), '--cfg-options', *OPTIONS])
    runpy.run_path(str(repository / 'tools/plan.py'), run_name='__main__')
    printed, written = capsys.readouterr().out, json.loads(file.read_text())
    assert 'not measured on a GPU' in printed
    assert 'It fits' in printed
    assert set(written['memory']) == {'data_parallel', 'sharded'}
    assert written['gpu_hours'] == pytest.approx(2 * written['hours'])


def test_other_trainings_are_refused():
    cfg = Config.fromfile(config_path('classification/vit-small-p16_linear_1xb128-100e_custom.py'))
    with pytest.raises(TypeError, match='configs that pretrain'):
        model_in_shapes(cfg)


def test_a_loss_whose_result_has_an_unknown_size_is_told(monkeypatch):
    cfg = recipe()
    model = model_in_shapes(cfg)
    (example,) = examples(cfg, model.data_preprocessor)
    monkeypatch.setattr(type(model), 'forward', lambda self, views, mode: {'loss': views.global_views.nonzero().sum()})
    with pytest.raises(ValueError, match=r'nonzero.*no plan'):
        measured_step(model, cfg.optim_wrapper.to_dict(), example.of(SAMPLES))
