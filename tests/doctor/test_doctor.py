"""The doctor: each fault that is planted is found, and what is well is called well."""

import math
import runpy
import signal
import sys
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from bundled import CIFAR
from small_distillation import make, make_views
from torch import nn

from dino_plugin.core.views import ViewBatch
from dino_plugin.doctor.experiments import Range, judge_overfit, judge_range, overfit, range_of, rising_rates
from dino_plugin.doctor.findings import Finding, as_markdown, as_text, worst_first
from dino_plugin.doctor.first_steps import FirstSteps
from dino_plugin.doctor.healthy_steps import HEALTHY, judge_first_steps
from dino_plugin.doctor.hook import _end_at_once_when_asked
from dino_plugin.doctor.images import Images, judge_images, judge_released_normalisation, look_at_images
from dino_plugin.doctor.network import Look, judge_network, long_patches, look_at_network
from dino_plugin.doctor.page import page_of
from dino_plugin.doctor.schedule import POINTS, judge_rates, judge_schedule
from dino_plugin.doctor.views import judge_grid, judge_order

IMAGENET = ([124, 116, 104], [58, 57, 57])


def levels(findings):
    return {subject: level for level, subject, *_ in findings}


def watch(items, name):
    return iter(items)


# --- images ---


@pytest.fixture
def folder(tmp_path):
    """30 photographs, three copies of one of them, one that is damaged and two of one colour."""
    paths = []
    for number, source in enumerate(sorted(CIFAR.glob('*/*.jpg'))[::34][:30]):
        (tmp_path / f'{number:02}.jpg').write_bytes(source.read_bytes())
    for number in range(3):
        (tmp_path / f'copy{number}.jpg').write_bytes((tmp_path / '07.jpg').read_bytes())
    (tmp_path / 'damaged.jpg').write_bytes((tmp_path / '01.jpg').read_bytes()[:100])
    for number in range(2):
        cv2.imwrite(str(tmp_path / f'grey{number}.jpg'), np.full((40, 40, 3), 90, np.uint8))
    paths += sorted(map(str, tmp_path.glob('*.jpg')))
    return paths


def test_damaged_blank_and_copied_images_are_counted(folder):
    found = look_at_images(folder)
    assert (found.total, found.looked_at, found.copies, found.side) == (36, 36, 4, 32)
    assert [path.rpartition('/')[2] for path in found.unreadable] == ['damaged.jpg']
    assert [path.rpartition('/')[2] for path in found.blank] == ['grey0.jpg', 'grey1.jpg']
    said = judge_images(found, 4, 64, *IMAGENET)
    assert levels(said) == {
        'images': 'ok', 'unreadable files': 'warning', 'images of one colour': 'notice', 'copies': 'notice',
        'size': 'notice', 'normalisation': 'ok',
    }  # fmt: skip


def test_mean_and_deviation_are_those_of_the_pixels(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (30, 60, 90)  # blue, green, red for OpenCV
    cv2.imwrite(str(tmp_path / 'half.png'), pixels)
    found = look_at_images([str(tmp_path / 'half.png')])
    assert found.mean == pytest.approx([45, 30, 15]) and found.std == pytest.approx([45, 30, 15])


@pytest.mark.parametrize(
    ('changes', 'subject', 'level'),
    [
        (dict(total=100), 'number of images', 'warning'),
        (dict(copies=60), 'copies', 'warning'),
        (dict(blank=['a'] * 90), 'images of one colour', 'fault'),
        (dict(mean=[50, 50, 50]), 'normalisation', 'notice'),
        (dict(mean=[400, 300, 300]), 'normalisation', 'warning'),
    ],
)
def test_what_is_wrong_with_images_is_told(changes, subject, level):
    well = Images(10_000, 100, [], [], 0, 300, *IMAGENET)
    assert set(levels(judge_images(well, 64, 224, *IMAGENET)).values()) == {'ok'}
    assert levels(judge_images(well._replace(**changes), 64, 224, *IMAGENET))[subject] == level


# --- schedule ---


def schedule(momentum=0.99, peak=0.1, rate=1e-3, temperature=0.04, decay=0.04):
    at = int(peak * (POINTS - 1))
    rates = [rate * (point / at if point < at else 1.0) for point in range(POINTS)]
    constant = {'teacher momentum': momentum, 'teacher temperature of dino': temperature, 'weight_decay': decay}
    return {'lr': rates} | {name: [value] * POINTS for name, value in constant.items()}


@pytest.mark.parametrize(
    ('changes', 'frozen', 'subject', 'level'),
    [
        (dict(momentum=0.9999), {}, 'teacher momentum', 'warning'),  # 10,000 steps of 1,000
        (dict(peak=0.8), {}, 'warm-up', 'warning'),
        (dict(rate=0.0), {}, 'learning rate', 'fault'),
        (dict(temperature=0.1), {}, 'temperatures of dino', 'warning'),
        (dict(momentum=0.0), {}, 'teacher momentum', 'warning'),
        (dict(decay=4.0), {}, 'weight decay', 'warning'),
        (dict(), {'last layer': 0.9}, 'freeze', 'warning'),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(changes, frozen, subject, level):
    assert set(levels(judge_schedule(schedule(), 1000, {'backbone': 0.1}, {'dino': 0.1})).values()) == {'ok'}
    assert levels(judge_schedule(schedule(**changes), 1000, frozen, {'dino': 0.1}))[subject] == level


# --- network ---


def test_units_that_never_change_and_patches_that_are_too_long_are_counted():
    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.relu = nn.Linear(3, 8), nn.ReLU()
            with torch.no_grad():
                self.linear.bias[:6] = -1e4  # six of eight units are dead

        def forward(self, images):
            from dino_plugin.core.views import Tokens

            patches = self.relu(self.linear(images.movedim(2, -1)))
            return Tokens(patches.mean((2, 3)), patches)

    torch.manual_seed(0)
    look = look_at_network(Backbone(), torch.randn(2, 5, 3, 4, 4))
    assert (look.dead, look.parameters, look.images) == (0.75, 32, 5)
    patches = torch.ones(1, 20, 3)
    patches[0, :2] = 10
    assert long_patches(patches) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ('changes', 'released', 'subject', 'level'),
    [
        (dict(parameters=0), False, 'network', 'fault'),
        (dict(dead=0.6), False, 'dead units', 'warning'),
        (dict(long=0.02), True, 'long patch tokens', 'notice'),
        (dict(spread=0.0), True, 'features', 'warning'),
        (dict(spread=0.0), False, 'features at the start', 'ok'),  # LayerScale of 1e-5 starts so
    ],
)
def test_what_is_wrong_with_a_network_is_told(changes, released, subject, level):
    well = Look(1000, 0.0, 0.0, 20.0, 0.5, 64)
    assert set(levels(judge_network(well, True)).values()) == {'ok'}
    assert levels(judge_network(well._replace(**changes), released))[subject] == level


# --- learning ---


def test_one_batch_is_learnt_by_a_copy_and_the_model_stays_as_it_is():
    torch.manual_seed(0)
    model, views = make(), make_views()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = overfit(model, views, 1e-2, 40, watch)
    assert levels(judge_overfit(losses)) == {'one batch': 'ok'}  # at least 2 % lower
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert levels(judge_overfit(overfit(model, views, 1e-9, 10, watch))) == {'one batch': 'fault'}  # it stands still


def test_rising_learning_rates_rise_by_a_constant_factor_and_find_where_it_breaks():
    torch.manual_seed(0)
    model, views = make(), make_views()
    rates, losses = rising_rates(model, [views], 1e-5, 1e3, 40, watch)
    factors = [after / before for before, after in pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert losses[0] > min(losses) and 1e-4 < range_of(rates, losses).best < 10


def test_the_range_is_where_the_loss_is_lowest_and_where_half_of_the_gain_is_lost():
    rates = [10.0**exponent for exponent in range(-6, 3)]
    losses = [7.0, 7.0, 6.0, 4.0, 3.0, 3.0, 4.0, 6.0, math.inf]
    assert range_of(rates, losses, memory=0.0) == Range(1e-2, 10.0)
    said = {rate: levels(judge_range(Range(1e-2, 10.0), rate))['learning rate'] for rate in (1e-6, 1e-3, 20.0, 200.0)}
    assert list(said.values()) == ['notice', 'ok', 'warning', 'fault']


@pytest.mark.parametrize(
    ('numbers', 'subject', 'level'),
    [
        (dict(loss=[7.0, math.nan]), 'first steps', 'fault'),
        ({'information of dino': [0.5, 0.001]}, 'information of dino', 'warning'),
        ({'information of dino': [0.5, 0.1]}, 'information of dino', 'notice'),
        ({'sharpness of ibot': [0.5, 0.99]}, 'sharpness of ibot', 'notice'),
        (dict(distance=[0.0, 0.0, 0.0]), 'distance', 'warning'),
        (dict(distance=[0.0, 0.1, 0.5]), 'distance', 'notice'),
        (dict(effective_rank=[20.0, 1.1]), 'features', 'warning'),
        (dict(grad_norm=[9.0] * 20), 'clipping', 'notice'),
        (dict(time=[1.0] * 5, data_time=[0.5] * 5), 'waiting for images', 'notice'),
    ],
)
def test_what_the_first_steps_show_is_told(numbers, subject, level):
    well = dict(loss=[7.0, 6.5], effective_rank=[20.0, 21.0], time=[1.0] * 5, data_time=[0.01] * 5)
    well |= {f'{name} of dino' if name not in ('distance', 'grad_norm') else name: [(band.low + band.high) / 2] * 3
             for name, band in HEALTHY.items()}  # fmt: skip
    assert set(levels(judge_first_steps(well, 3.0, 5)).values()) == {'ok'}
    assert levels(judge_first_steps(well | numbers, 3.0, 5))[subject] == level


def test_a_band_reaches_from_half_of_the_least_to_twice_the_most_that_was_measured():
    for band in HEALTHY.values():
        assert 0 < band.low < band.high
        assert band.least in (0, pytest.approx(band.low / 2, rel=0.05))
        assert band.most in (math.inf, pytest.approx(2 * band.high, rel=0.05))


def test_numbers_of_the_first_steps_are_their_equations():
    model = make()
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.mul_(1.5)  # |1.5 t - t| / |t| = 0.5
    first = FirstSteps(model, views=4)
    first.note(dict(loss_dino=3.0, target_entropy=math.log(8) / 2, target_information=math.log(4) / 4), 0.0)
    first.note(dict(loss=1.0), 0.5)
    assert {name: values[0] for name, values in first.numbers.items()} == pytest.approx({
        'distance': 0.5, 'sharpness of dino': 0.5, 'information of dino': 0.25,
        'divergence of dino': 3 / math.log(8) - 0.5, 'loss': 1.0,
    })  # fmt: skip
    assert len(first.numbers['distance']) == 2 and len(first.numbers['sharpness of dino']) == 1


# --- views ---


def test_patches_masks_positions_and_order_are_judged():
    backbone = nn.Module()
    backbone.patch_size = (4, 4)
    backbone.model = SimpleNamespace(pos_embed=1, patch_embed=SimpleNamespace(grid_size=(9, 9)))
    views, masks = torch.randn(2, 3, 3, 16, 8), torch.zeros(2, 3, 4, 2, dtype=torch.bool)
    masks[0, :, 0] = True  # a quarter of the patches in half of the views
    said = {finding.subject: finding for finding in judge_grid(backbone, ViewBatch(views, masks=masks))}
    assert said['patches'].found == '4 x 2 patches of 4 x 4 pixels' and '9 x 9' in said['positions'].found
    assert said['masks'].found == '12% of the patches, in 50% of the views'
    assert levels(judge_grid(backbone, ViewBatch(views, masks=masks[..., :1])))['masks'] == 'fault'
    assert levels(judge_grid(backbone, ViewBatch(views, masks=masks & False)))['masks'] == 'fault'
    assert levels(judge_grid(backbone, ViewBatch(views[..., :7])))['patches'] == 'warning'
    assert levels(judge_order([4, 5, 6, 7])) != levels(judge_order([4, 6, 5, 7]))


def test_the_normalisation_of_a_released_network_and_the_rates_of_groups_are_told():
    timm = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
    assert levels(judge_released_normalisation([127.5] * 3, [127.5] * 3, timm)) == {"the network's normalisation": 'ok'}
    (wrong,) = judge_released_normalisation(*IMAGENET, timm)
    assert wrong.level == 'warning' and 'mean=[128, 128, 128]' in wrong.remedy.replace('127', '128')
    groups = [
        dict(lr=0.0, initial_lr=1e-3, module='backbone'),
        dict(lr=1e-4, module='backbone'),
        dict(lr=2e-3, last_layer=True),
    ]
    assert judge_rates(groups)[0].found == 'backbone 0.0001 to 0.001, last layer 0.002'


def test_one_batch_whose_loss_rises_or_is_nan_is_a_fault():
    assert levels(judge_overfit([5.0] * 5 + [6.0] * 5)) == {'one batch': 'fault'}
    assert levels(judge_overfit([5.0, math.nan])) == {'one batch': 'fault'}


# --- the program ---


def test_the_worst_comes_first_with_its_remedy():
    found = [Finding('ok', 'a', 'x'), Finding('fault', 'b', 'y', 'cure'), Finding('notice', 'c', 'z', 'hint')]
    assert [finding.subject for finding in worst_first(found)] == ['b', 'c', 'a']
    assert as_text(found).splitlines() == [
        'fault    b: y', '         -> cure', 'notice   c: z', '         -> hint', 'ok       a: x'
    ]  # fmt: skip
    assert as_markdown(found).splitlines()[2] == '| fault | b | y | cure |'


@pytest.mark.usefixtures('own_handlers')
def test_the_program_examines_a_recipe_and_touches_nothing(tmp_path, repository, monkeypatch, capsys):
    images = tmp_path / 'black'
    images.mkdir()
    for number in range(40):
        cv2.imwrite(str(images / f'{number}.png'), np.full((32, 32, 3), 3, np.uint8))
    small = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    head = dict(prototypes=32, hidden_dim=32, bottleneck_dim=16)
    options = [f'model.backbone.{key}={value}' for key, value in small.items()]
    options += [f'model.heads.cls.{key}={value}' for key, value in head.items()]
    pipeline = 'train_dataloader.dataset.dataset.pipeline.1'
    options += [f'{pipeline}.global_size=32', f'{pipeline}.local_size=16', 'optim_wrapper.precision=fp32']
    command = ['doctor.py', 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', '--images', str(images)]
    command += ['--batch-size', '8', '--num-workers', '0', '--steps', '3', '--quick', '--cfg-options', *options]
    monkeypatch.setattr(sys, 'argv', command)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(repository / 'tools/doctor.py'), run_name='__main__')
    assert ended.value.code == 1
    assert 'fault    images of one colour: 40 of 40' in capsys.readouterr().out
    out = tmp_path / 'work_dirs/doctor'
    names = sorted(path.name for path in out.iterdir())
    assert names == ['doctor.html', 'doctor.md', 'schedule.png', 'views.png']
    assert '<td>40 of 40, such as' in (out / 'doctor.html').read_text()
    assert [path.name for path in (tmp_path / 'work_dirs').iterdir()] == ['doctor']


@pytest.mark.usefixtures('own_handlers')
def test_a_signal_ends_it_at_once():
    _end_at_once_when_asked()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.fixture
def own_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_page_holds_all_and_runs_nothing(tmp_path):
    cv2.imwrite(str(tmp_path / 'views.png'), np.full((8, 8, 3), 90, np.uint8))
    page = page_of(
        'a<b', [Finding('ok', 'x', '1 < 2'), Finding('fault', 'y', 'z', '<script>')], [tmp_path / 'views.png']
    )
    assert page.index('<td>fault</td>') < page.index('<td>ok</td>') and '1 &lt; 2' in page and '1 fault, 1 ok' in page
    assert '<script' not in page and 'http' not in page.replace('http-equiv', '') and 'data:image/webp' in page
