"""Lightly's losses on this engine, against loops as in Lightly's own examples.

That each config of configs/baselines/ trains is tested with the others, in test_configs.py.
"""

import copy
import re

import pytest
import torch
import yaml
from mmengine.hooks import Hook
from mmengine.runner import Runner
from processes import run_in_processes
from small_training import build_runner, small_config
from test_configs import load, shrink
from torch import nn
from torch.nn.functional import normalize

from dino_plugin.core.losses.base import Step
from dino_plugin.core.reduce import gather_over_ranks, sum_over_ranks
from dino_plugin.core.views import Tokens, ViewBatch
from dino_plugin.engine.training.lightly_losses import LightlyPairLoss, LightlySwAVLoss
from dino_plugin.openmmlab.config_files import config_root
from dino_plugin.weights.safe_loading import load_checkpoint

pytest.importorskip('lightly', reason='these baselines use Lightly, which is not installed')
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead, SwaVPrototypes

ROOT = config_root()
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'baselines').glob('*.py'))
HEADS = 'lightly.models.modules.heads.'

# ---------------------------------------------------------------------------------------------- values and gradients


def tokens(views, batch=5, dim=6, grad=True):
    return Tokens(torch.randn(views, batch, dim, requires_grad=grad), torch.randn(views, batch, 2, 2, dim))


def make_step(num_global=2, num_local=0):
    torch.manual_seed(0)
    student = {
        'projector': BYOLProjectionHead(6, 8, 4),
        'predictor': BYOLPredictionHead(4, 8, 4),
        'prototypes': SwaVPrototypes(4, 7),
    }
    teacher = {'projector': BYOLProjectionHead(6, 8, 4).requires_grad_(False)}
    return Step(
        views=ViewBatch(torch.zeros(num_global, 5, 3, 4, 4)),
        student_global=tokens(num_global),
        student_local=tokens(num_local) if num_local else None,
        teacher_global=tokens(num_global, grad=False),
        student_heads=student,
        teacher_heads=teacher,
        progress=0.0,
    )


def seeded(make):
    torch.manual_seed(1)
    return make()


def simclr_loop(step, criterion):
    x0, x1 = step.student_global.class_token
    return criterion(step.student_heads['projector'](x0), step.student_heads['projector'](x1))


def moco_loop(step, criterion):
    query = step.student_heads['projector'](step.student_global.class_token[0])
    key = step.teacher_heads['projector'](step.teacher_global.class_token[1]).detach()
    return criterion(query, key)


def byol_loop(step, criterion):
    student, teacher = step.student_heads, step.teacher_heads
    p0, p1 = (student['predictor'](student['projector'](x)) for x in step.student_global.class_token)
    z0, z1 = (teacher['projector'](x).detach() for x in step.teacher_global.class_token)
    return 0.5 * (criterion(p0, z1) + criterion(p1, z0))


def simsiam_loop(step, criterion):
    z0, z1 = (step.student_heads['projector'](x) for x in step.student_global.class_token)
    p0, p1 = step.student_heads['predictor'](z0), step.student_heads['predictor'](z1)
    return 0.5 * (criterion(p0, z1.detach()) + criterion(p1, z0.detach()))


def swav_loop(step, criterion):
    prototypes = step.student_heads['prototypes']
    prototypes.normalize()
    views = [*step.student_global.class_token, *(step.student_local.class_token if step.student_local else ())]
    scores = [prototypes(normalize(step.student_heads['projector'](x), dim=1)) for x in views]
    return criterion(scores[:2], scores[2:]).squeeze()


def pair(make, **settings):
    return lambda: LightlyPairLoss(seeded(make), 'projector', **settings)


def bank():
    return NTXentLoss(0.2, memory_bank_size=(16, 4))


PARITY = {  # criterion, our loss, Lightly's loop, local views
    'simclr': (NTXentLoss, pair(NTXentLoss, keys='student', symmetric=False), simclr_loop, 0),
    'mocov2': (bank, pair(bank, symmetric=False), moco_loop, 0),
    'mocov3': (NTXentLoss, pair(NTXentLoss, predictor='predictor'), byol_loop, 0),
    'byol': (NegativeCosineSimilarity, pair(NegativeCosineSimilarity, predictor='predictor'), byol_loop, 0),
    'simsiam': (
        NegativeCosineSimilarity,
        pair(NegativeCosineSimilarity, predictor='predictor', keys='student'),
        simsiam_loop,
        0,
    ),
    'swav': (SwaVLoss, lambda: LightlySwAVLoss(SwaVLoss(), 'projector', 'prototypes'), swav_loop, 3),
    'swav without local views': (
        SwaVLoss,
        lambda: LightlySwAVLoss(SwaVLoss(), 'projector', 'prototypes'),
        swav_loop,
        0,
    ),
}


@pytest.mark.parametrize('name', PARITY)
def test_value_and_gradients_are_those_of_lightlys_example(name):
    make_criterion, make_loss, loop, num_local = PARITY[name]
    ours, theirs = make_step(num_local=num_local), make_step(num_local=num_local)
    loss = make_loss()
    value, expected = loss(ours), loop(theirs, seeded(make_criterion))
    assert value.shape == ()
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    assert ours.student_global.class_token.grad.abs().max() > 1e-4
    torch.testing.assert_close(ours.student_global.class_token.grad, theirs.student_global.class_token.grad)
    if num_local:
        torch.testing.assert_close(ours.student_local.class_token.grad, theirs.student_local.class_token.grad)
    for name in ours.student_heads:
        pairs = zip(ours.student_heads[name].parameters(), theirs.student_heads[name].parameters())
        for mine, other in pairs:
            assert (mine.grad is not None) == (other.grad is not None) == (name in loss.heads)
            if name in loss.heads:
                torch.testing.assert_close(mine.grad, other.grad)
    for frozen in (*ours.teacher_heads['projector'].parameters(), ours.teacher_global.class_token):
        assert frozen.grad is None


class Pairs(nn.Module):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, query, key):
        self.seen.append((int(query[0, 0]), int(key[0, 0])))
        return query.sum() * 0 + len(self.seen)


@pytest.mark.parametrize(
    ('symmetric', 'expected'),
    [(True, [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]), (False, [(0, 1), (0, 2), (1, 2)])],
)
def test_every_pair_of_different_views_counts_once_or_both_ways_and_equally(symmetric, expected):
    step = make_step(num_global=3)
    numbered = Tokens(torch.arange(3.0)[:, None, None].expand(3, 5, 6), step.student_global.patches)
    step = step._replace(
        student_global=numbered,
        teacher_global=numbered,
        student_heads={'projector': nn.Identity()},
        teacher_heads={'projector': nn.Identity()},
    )
    criterion = Pairs()
    value = LightlyPairLoss(criterion, 'projector', symmetric=symmetric)(step)
    assert criterion.seen == expected
    assert value.item() == (1 + len(expected)) / 2


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_criteria_and_prototypes_are_computed_in_float32_under_any_autocast(dtype):
    step = make_step()
    heads = {'projector': nn.Identity(), 'prototypes': SwaVPrototypes(6, 7)}
    step = step._replace(student_heads=heads, teacher_heads=heads)
    for loss in (LightlyPairLoss(NTXentLoss(), 'projector'), LightlySwAVLoss(SwaVLoss(), 'projector', 'prototypes')):
        expected = loss(step)
        with torch.autocast('cpu', dtype=dtype):
            value = loss(step)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


# ------------------------------------------------------------------------------------------------------- memory bank


def test_the_bank_holds_the_teachers_keys():
    step, loss = make_step(), pair(bank, symmetric=False)()
    keys = normalize(step.teacher_heads['projector'](step.teacher_global.class_token[1]), dim=1)
    before = loss.criterion.memory_bank.bank.clone()
    loss(step)
    torch.testing.assert_close(loss.criterion.memory_bank.bank[:5], keys)
    assert torch.equal(loss.criterion.memory_bank.bank[5:], before[5:])
    assert int(loss.criterion.memory_bank.bank_ptr) == 5


def test_with_a_bank_and_both_directions_no_image_meets_its_own_keys_among_the_negatives():
    """Cross-entropy of each query against its key and the bank as it was *before* the step."""
    step, loss = make_step(), pair(bank, symmetric=True)()
    negatives = loss.criterion.memory_bank.bank.clone()
    value = loss(step)
    terms = []
    for i, j in ((0, 1), (1, 0)):
        queries = normalize(step.student_heads['projector'](step.student_global.class_token[i]), dim=1)
        keys = normalize(step.teacher_heads['projector'](step.teacher_global.class_token[j]), dim=1)
        for query, key in zip(queries, keys):
            scores = torch.stack([query @ other for other in (key, *negatives)]) / 0.2
            terms.append(-scores.log_softmax(0)[0])
    torch.testing.assert_close(value, torch.stack(terms).mean())
    assert int(loss.criterion.memory_bank.bank_ptr) == 10


def test_the_bank_is_state_and_nothing_is_where_there_is_none():
    first, second = pair(bank)(), LightlyPairLoss(bank(), 'projector')
    first(make_step())
    assert set(first.state_dict()) == {'criterion.memory_bank.bank', 'criterion.memory_bank.bank_ptr'}
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.criterion.memory_bank.bank, first.criterion.memory_bank.bank)
    assert torch.equal(second.criterion.memory_bank.bank_ptr, first.criterion.memory_bank.bank_ptr)
    assert not pair(NTXentLoss)().state_dict()


def gathered(rank):
    torch.manual_seed(0)
    projector = nn.Linear(6, 4)
    teacher = nn.Linear(6, 4).requires_grad_(False)
    everyone = make_step()._replace(student_heads={'projector': projector}, teacher_heads={'projector': teacher})
    mine = slice(0, 2) if rank == 0 else slice(2, 4)

    def part(rows):
        parts = [Tokens(*(value[:, rows].detach() for value in getattr(everyone, name))) for name in TOKENS]
        return everyone._replace(**dict(zip(TOKENS, parts)))

    for make, settings in ((NTXentLoss, dict(keys='student', symmetric=False)), (bank, dict())):
        projector.zero_grad()
        expected = pair(make, **settings)()(part(slice(0, 4)))
        expected.backward()
        gradient = projector.weight.grad.clone()
        projector.zero_grad()
        loss = pair(make, **settings)()
        loss.criterion.gather_distributed = loss.criterion.memory_bank.gather_distributed = True
        value = loss(part(mine))
        value.backward()
        torch.testing.assert_close(sum_over_ranks(value.detach()) / 2, expected.detach())
        torch.testing.assert_close(sum_over_ranks(projector.weight.grad) / 2, gradient)
        filled = loss.criterion.memory_bank.bank
        assert torch.equal(*gather_over_ranks(filled[None])), 'the ranks have different banks'


TOKENS = ('student_global', 'teacher_global')


def test_with_gather_distributed_two_processes_compute_the_loss_of_the_whole_batch_and_share_a_bank():
    run_in_processes(gathered)


# -------------------------------------------------------------------------------------------------- caller's mistakes


def test_other_keys_than_the_two_networks_are_refused():
    with pytest.raises(ValueError, match="keys='bank' must be 'teacher' or 'student'"):
        LightlyPairLoss(NTXentLoss(), 'projector', keys='bank')


def test_one_global_view_makes_no_pair():
    with pytest.raises(ValueError, match='one global view makes no pair'):
        pair(NTXentLoss)()(make_step(num_global=1))


def test_a_criterion_that_was_not_built_is_answered_with_an_example():
    with pytest.raises(TypeError, match=r"no module; give a config such as dict\(type='lightly.loss.NTXentLoss'\)"):
        LightlyPairLoss(dict(temperature=0.5), 'projector')
    with pytest.raises(TypeError, match=r"dict\(type='lightly.loss.SwaVLoss'\)"):
        LightlySwAVLoss('SwaVLoss', 'projector', 'prototypes')


# ------------------------------------------------------------------------------------------------------ training runs


def head(name, **settings):
    return dict(type=HEADS + name, **settings)


def pair_loss(criterion, **settings):
    return dict(type='dino_plugin.LightlyPairLoss', projector='projector', criterion=criterion, **settings)


COSINE = dict(type='dino_plugin.Cosine', start=0.9, end=1.0)
PROJECTOR = head('BYOLProjectionHead', hidden_dim=24, output_dim=8)
PREDICTOR = head('BYOLPredictionHead', input_dim=8, hidden_dim=24, output_dim=8)
XENT = dict(type='lightly.loss.NTXentLoss', temperature=0.2)
METHODS = {  # heads, loss, momentum
    'simclr': (
        dict(projector=head('SimCLRProjectionHead', hidden_dim=24, output_dim=8)),
        pair_loss(XENT, keys='student', symmetric=False),
        0.0,
    ),
    'mocov2': (
        dict(projector=head('MoCoProjectionHead', hidden_dim=24, output_dim=8)),
        pair_loss(dict(XENT, memory_bank_size=(64, 8)), symmetric=False),
        COSINE,
    ),
    'mocov3': (
        dict(projector=PROJECTOR, predictor=PREDICTOR),
        pair_loss(XENT, predictor='predictor'),
        COSINE,
    ),
    'byol': (
        dict(projector=PROJECTOR, predictor=PREDICTOR),
        pair_loss(dict(type='lightly.loss.NegativeCosineSimilarity'), predictor='predictor'),
        COSINE,
    ),
    'swav': (
        dict(
            projector=head('SwaVProjectionHead', hidden_dim=24, output_dim=8),
            last_layer=head('SwaVPrototypes', input_dim=8, n_prototypes=12),
        ),
        dict(
            type='dino_plugin.LightlySwAVLoss',
            projector='projector',
            prototypes='last_layer',
            criterion=dict(type='lightly.loss.SwaVLoss'),
        ),
        0.0,
    ),
}


class Watch(Hook):
    """Counts the teacher's passes while it trains, keeps losses and prototypes; can interrupt the run."""

    priority = 'VERY_LOW'

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.in_step, self.teacher_passes, self.losses, self.prototypes = False, 0, [], []

    def before_train(self, runner):
        network = runner.model.distillation
        network.teacher.backbone.register_forward_hook(self._count)
        self.student = [parameter.detach().clone() for parameter in network.student.parameters()]
        if 'last_layer' in network.student.heads:
            network.student.heads['last_layer'].register_forward_hook(self._measure)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.in_step = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.in_step = False
        self.losses.append({name: value.item() for name, value in outputs.items()})
        if runner.iter + 1 == self.stop_at:
            raise KeyboardInterrupt

    def _count(self, module, inputs, output):
        self.teacher_passes += self.in_step  # k-NN runs it too

    def _measure(self, module, inputs, output):
        self.prototypes.append(module.heads[0].weight.detach().clone())


def method_config(name, work_dir, **changes):
    heads, loss, momentum = METHODS[name]
    config = small_config(
        work_dir,
        model__heads=dict(copy.deepcopy(heads), _delete_=True),
        model__losses=dict({name: copy.deepcopy(loss)}, _delete_=True),
        train_cfg__max_epochs=1,
        **changes,
    )
    config.model.momentum = copy.deepcopy(momentum)
    if name != 'swav':
        config.train_dataloader.dataset.dataset.pipeline[1].num_local = 0
    return config


def train(config, stop_at=None):
    runner, watch = build_runner(config), Watch(stop_at)
    runner.register_hook(watch)
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return runner, watch


@pytest.mark.parametrize('name', METHODS)
def test_a_baseline_trains_and_its_teacher_is_run_only_where_it_is_used(name, tmp_path):
    runner, watch = train(method_config(name, tmp_path), stop_at=3)
    network = runner.model.distillation
    assert [set(losses) for losses in watch.losses] == [{'loss', f'loss_{name}'}] * 3
    assert all(torch.tensor(losses['loss']).isfinite() for losses in watch.losses)
    assert not any(map(torch.equal, watch.student, network.student.backbone.parameters()))
    follows = name in ('mocov2', 'mocov3', 'byol')
    assert watch.teacher_passes == (3 if follows else 0)
    assert all(parameter.grad is None for parameter in network.teacher.parameters())
    student, teacher = network.student.state_dict(), network.teacher.state_dict()
    if follows:
        assert not torch.equal(teacher['backbone.model.pos_embed'], student['backbone.model.pos_embed'])
    else:  # statistics of batch norms included
        assert all(torch.equal(teacher[key], value) for key, value in student.items())


def test_prototypes_have_length_one_whenever_they_are_used_and_stay_while_the_last_layer_is_frozen(tmp_path):
    _, watch = train(method_config('swav', tmp_path, optim_wrapper__freeze_last_layer=0.5))
    assert len(watch.prototypes) == 6 * 4, '6 steps of 2 global and 2 local views'
    torch.testing.assert_close(torch.stack(watch.prototypes).norm(dim=2), torch.ones(24, 12))
    torch.testing.assert_close(watch.prototypes[0], watch.prototypes[3 * 4])  # frozen for three of six steps
    assert not torch.allclose(watch.prototypes[0], watch.prototypes[4 * 4])


@pytest.mark.parametrize('name', ['byol', 'mocov2'])
def test_a_resumed_baseline_equals_an_unbroken_one_bit_for_bit(name, tmp_path):
    unbroken, whole = train(method_config(name, tmp_path / 'unbroken'))
    train(method_config(name, tmp_path / 'broken'), stop_at=5)
    torch.manual_seed(1)
    resumed, rest = train(method_config(name, tmp_path / 'broken', resume=True))
    assert rest.losses == whole.losses[4:]
    expected, found = unbroken.model.state_dict(), resumed.model.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    if name == 'mocov2':
        saved = load_checkpoint(tmp_path / 'unbroken' / 'iter_4.pth')['state_dict']
        prefix = 'distillation.losses.mocov2.criterion.memory_bank.'
        assert int(saved[f'{prefix}bank_ptr']) == 0, 'four batches of 16 fill a bank of 64'
        assert not torch.equal(saved[f'{prefix}bank'], expected[f'{prefix}bank'])


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'model.losses.byol.predictor': 'predicter'}, ValueError, r"losses name the heads \['predicter'\]"),
        (
            {'model.losses.byol.criterion.type': 'lightly.loss.NTExentLoss'},
            KeyError,
            'lightly.loss.NTExentLoss is not in',
        ),
        ({'model.losses.byol.criterion.type': 'lightlyy.loss.Loss'}, ImportError, "needs the package 'lightlyy'"),
        ({'model.heads.projector.type': 'lightlyy.heads.Head'}, ImportError, "needs the package 'lightlyy'"),
        ({'model.losses.byol.criterion': None}, TypeError, 'criterion=None is no module'),
    ],
)
def test_a_wrong_name_in_a_config_is_named_in_the_error(changes, error, message, tmp_path):
    config = method_config('byol', tmp_path)
    config.merge_from_dict(changes)
    with pytest.raises(error, match=message):
        build_runner(config)


# ------------------------------------------------------------------------------------------------------------ configs


def test_only_the_patch_embedding_of_the_imagenet_recipes_stays_random(twelve_images, tmp_path):
    cfg = shrink(load('baselines/mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py'), twelve_images, tmp_path)
    runner = Runner.from_cfg(cfg)
    student = runner.model.distillation.student
    before = {key: value.detach().clone() for key, value in student.named_parameters()}
    runner.train()
    still = {key for key, value in student.named_parameters() if torch.equal(value, before[key])}
    assert still == {'backbone.model.patch_embed.proj.weight', 'backbone.model.patch_embed.proj.bias'}


@pytest.mark.parametrize('name', [name for name in CONFIGS if '_8xb' in name and 'byol' not in name])
def test_several_gpus_share_negatives_assignments_and_statistics(name):
    cfg = load(name)
    (loss,) = cfg.model.losses.values()
    assert [value for key, value in loss.criterion.items() if 'gather_distributed' in key] == [True]
    assert cfg.sync_bn == 'torch'


def test_the_metafile_of_baselines_lists_them_with_their_numbers():
    metafile = yaml.safe_load((ROOT / 'baselines/metafile.yml').read_text())
    collections = {collection['Name']: collection for collection in metafile['Collections']}
    for model in metafile['Models']:
        cfg = load(model['Config'].removeprefix('configs/'))
        gpus = int(re.search(r'_(\d+)xb', model['Name'])[1])
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs
        assert model['Metadata']['Batch Size'] == gpus * cfg.train_dataloader.batch_size
        assert collections[model['In Collection']]['Paper']['URL'] in (ROOT / 'baselines/README.md').read_text()
    assert sorted(model['Config'] for model in metafile['Models']) == [f'configs/{name}' for name in CONFIGS]
