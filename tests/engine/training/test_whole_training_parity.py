"""Ten steps of each method by the Runner, from its published recipe, equal ten steps of plain loops in float64.

The recipe is shrunk through its settings: a tiny network, small views of real images, shorter warm-ups, and a limit of
the gradients' norms that some exceed and some do not. The plain loops of `plain_training` get the same views and the
numbers below, which are the published ones where nothing is shrunk, and are not read from the configs.
"""

import copy
from dataclasses import replace

import pytest
from bundled import CIFAR
from mmengine.runner import Runner
from plain_equations import Ramp
from plain_training import Numbers, PlainTraining
from test_configs import load, shrink
from torch import Tensor

STEPS, BATCH = 10, 4
WARM_UP, FREEZE, TEMPERATURE, GRAM = 0.3, 0.2, 0.5, 0.4  # shares of these ten steps
LINEAR, SQRT = BATCH / 256, (BATCH / 1024) ** 0.5  # rules for the learning rate
EQUAL = 1e-6  # in float64, where weights move by 0.03 and more; found: 4e-9
VIEWS = ('global_views', 'local_views', 'anchor_views')

DINO = Numbers(
    rate=0.5 * LINEAR,
    warm_up=WARM_UP,
    last_rate=0.5 * LINEAR * 1e-6 / 2e-3,
    max_norm=0.05,
    freeze=FREEZE,
    teacher_temperature=Ramp(0.04, TEMPERATURE, 0.04),
    trains_magnitudes=False,
)
IBOT = replace(DINO, patch_head='cls', trains_magnitudes=True, teacher_temperature=Ramp(0.04, TEMPERATURE, 0.07))
SHORT = replace(
    IBOT,
    rate=0.2 * SQRT,
    last_rate=0.2 * SQRT * 1e-6 / 5.66e-3,
    layer_decay=0.9,
    rate_of_patch_embedding=0.2,
    max_norm=3.0,
    clip='module',
    freeze_by='rate',
    momentum=(0.992, 1.0),
    koleo=0.1,
)
LONG = replace(
    SHORT,
    last_rate=0.2 * SQRT * 1e-6 / 3.46e-4,
    decay=(0.04, 0.2),
    layer_decay=1.0,
    momentum=(0.994, 1.0),
    balanced=True,
    patch_head='patch',
)
PRETRAIN = replace(
    LONG,
    last_rate=None,
    decay=(0.04, 0.04),
    betas=(0.9, 0.99),
    layer_decay=0.98,
    max_norm=0.3,
    momentum=(0.994, 0.994),
)
ANCHORED = replace(
    PRETRAIN,
    warm_up=0.0,
    momentum=(0.999, 0.999),
    freeze=0.0,
    teacher_temperature=Ramp(0.07, 0.0, 0.07),
    local_weight=Ramp(1.0, GRAM, 0.5),
    gram=Ramp(0.0, GRAM, 2.0),
    refresh=(0.3, 0.6),
)
HIGHRES = replace(
    ANCHORED,
    warm_up=WARM_UP,
    local_weight=Ramp(0.5, 0.0, 0.5),
    koleo_group=2,  # of four images; 16 in the recipe
    gram=Ramp(1.5, 0.0, 1.5),
    refresh=(),
)
RECIPES = {
    'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py': DINO,
    'ibot/ibot_vit-small-p16_16xb64-coslr-800e_in1k.py': IBOT,
    'dinov2/dinov2_vit-small-p16-reg4_32xb64-short-125k_in1k.py': SHORT,
    'dinov2/dinov2_vit-giant-p14_256xb12-long-625k_in22k.py': LONG,
    'dinov3/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py': PRETRAIN,
    'dinov3/dinov3_vit-7b-p16_256xb16-gram-200k_folder.py': ANCHORED,
    'dinov3/dinov3_vit-7b-p16_256xb8-highres-30k_folder.py': HIGHRES,
}


def shrunk(name, work_dir):
    """The recipe with the shares and sizes above, and nothing random in the network."""
    cfg, numbers = shrink(load(name), CIFAR, work_dir), RECIPES[name]
    cfg.model.backbone.update(drop_path_rate=0.0, subset_drop_path=0.0, gradient_checkpointing=False)
    cfg.model.backbone.pop('rope_rescale_coords', None)
    losses, wrapper, rate = cfg.model.losses, cfg.optim_wrapper, cfg.param_scheduler[0]
    for loss in losses.values():
        if isinstance(loss.get('teacher_temperature'), dict):
            loss.teacher_temperature.share = TEMPERATURE
    if numbers is ANCHORED:
        losses.dino.local_weight.share = losses.gram.weight.share = GRAM
        losses.gram.refresh = numbers.refresh
    wrapper.max_norm = numbers.max_norm
    wrapper.freeze_last_layer = FREEZE if wrapper.freeze_last_layer else 0.0
    wrapper.optimizer.lr = numbers.rate / (SQRT if cfg.auto_scale_lr.get('rule') == 'sqrt' else LINEAR)
    if isinstance(rate.schedule, dict):
        rate.schedule.share = WARM_UP
    loader = cfg.train_dataloader
    loader.batch_size = BATCH
    if 'batch_size' in loader.sampler:
        loader.sampler.batch_size = BATCH
    dataset = loader.dataset.dataset
    dataset.get('dataset', dataset).indices = STEPS * BATCH
    for pipeline in dataset.get('pipelines', [dataset.get('pipeline')]):
        pipeline[1].num_local = 2
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.max_iters = STEPS
    return cfg


def trained(cfg):
    """Student and teacher after a training by the Runner in float64, the student before it, and the views."""
    runner = Runner.from_cfg(cfg)
    network = runner.model.double().distillation
    first, seen = copy.deepcopy(network.student), []

    def in_float64(module, inputs):
        views, progress = inputs
        given = {name: getattr(views, name) for name in VIEWS}
        seen.append(views._replace(**{name: view.double() for name, view in given.items() if view is not None}))
        return seen[-1], progress

    network.register_forward_pre_hook(in_float64)
    runner.train()
    assert len(seen) == STEPS
    return network, first, seen


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """`trained` by the name of the recipe; each is trained once."""
    known = {}

    def by_name(name):
        if name not in known:
            known[name] = trained(shrunk(name, tmp_path_factory.mktemp('training')))
        return known[name]

    return by_name


def by_plain_loops(first, seen, numbers):
    plain = PlainTraining(first.backbone.model, dict(first.named_parameters()), numbers, STEPS)
    for views in seen:
        plain.train(views)
    return plain


def distance(network, weights):
    """Largest difference of a weight."""
    found = dict(network.named_parameters())
    assert found.keys() == weights.keys()
    return max((found[name] - weight).abs().max().item() for name, weight in weights.items())


@pytest.mark.parametrize('name', RECIPES)
def test_ten_steps_equal_those_of_plain_loops(name, training):
    """Every weight of student and teacher; so do the centres."""
    network, first, seen = training(name)
    plain = by_plain_loops(first, seen, RECIPES[name])
    assert distance(network.student, plain.student) < EQUAL
    assert distance(network.teacher, plain.teacher) < EQUAL
    centres = {name: centre for name, centre in plain.centre.items() if isinstance(centre, Tensor)}
    targets = {name: loss.target for name, loss in network.losses.items() if hasattr(loss, 'target')}
    assert centres.keys() == {name for name, target in targets.items() if hasattr(target, 'center')}
    assert all((targets[name].center - centre).abs().max() < EQUAL for name, centre in centres.items())
    before = dict(first.named_parameters())
    assert distance(network.student, before) > 0.02
    assert distance(network.teacher, before) > 1e-4
    assert 0 < sum(plain.clipped) < len(plain.clipped), 'no norm is above the limit, or none below'


OTHERWISE = {  # what makes a difference, for a network as small as this
    DINO: dict(
        rate=DINO.rate * 1.001,
        warm_up=0.2,
        last_rate=0.0,
        decay=(0.04, 0.04),
        betas=(0.9, 0.99),
        max_norm=0.051,
        clip='module',
        freeze=0.1,
        freeze_by='rate',
        momentum=(0.996, 0.996),
        teacher_temperature=Ramp(0.04, TEMPERATURE, 0.0401),
        student_temperature=0.1001,
        balanced=True,
        trains_magnitudes=True,
    ),
    IBOT: dict(patch_head=None, teacher_temperature=Ramp(0.04, 0.4, 0.07)),
    SHORT: dict(
        layer_decay=0.901,
        rate_of_patch_embedding=0.201,
        clip='parameter',
        freeze=0.0,
        freeze_by='gradient',
        koleo=0.1001,
        koleo_group=2,
    ),
    LONG: dict(balanced=False, decay=(0.04, 0.21)),
    ANCHORED: dict(
        local_weight=Ramp(1.0, GRAM, 0.501),
        gram=Ramp(0.0, GRAM, 2.001),
        refresh=(0.3,),
    ),
    HIGHRES: dict(koleo_group=4, gram=None),
}


@pytest.mark.parametrize(
    ('name', 'field'), [(name, field) for name, numbers in RECIPES.items() for field in OTHERWISE.get(numbers, {})]
)
def test_each_number_makes_a_difference_that_the_comparison_sees(name, field, training):
    network, first, seen = training(name)
    plain = by_plain_loops(first, seen, replace(RECIPES[name], **{field: OTHERWISE[RECIPES[name]][field]}))
    found = max(distance(network.student, plain.student), distance(network.teacher, plain.teacher))
    assert found > 5 * EQUAL
