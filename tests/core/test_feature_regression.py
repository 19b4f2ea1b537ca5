"""Distances against loops; what the loss compares with what; whom its gradients reach; what a checkpoint holds."""

import math

import pytest
import torch
from small_distillation import Backbone, make, make_head, make_views, train_step
from torch import nn
from torch.nn.functional import interpolate

from dino_plugin.core.frozen import FrozenNetwork
from dino_plugin.core.heads import ProjectionHead
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.feature_distances import DISTANCES, TargetScale
from dino_plugin.core.losses.feature_regression import FeatureRegressionLoss
from dino_plugin.core.targets import Centering
from dino_plugin.core.views import ClassTokenOnly, Tokens, ViewBatch


class Wide(Backbone):
    """A teacher of nine features and patches of ``cell`` pixels; counts its passes."""

    embed_dim = 9

    def __init__(self, cell=2, seed=7):
        super().__init__()
        torch.manual_seed(seed)
        self.cell, self.patch_size = cell, (cell, cell)
        self.network = nn.Conv2d(3, 9, cell, cell)
        self.norm = nn.BatchNorm2d(9)

    def forward(self, images, masks=None, local=False):
        self.seen.append(tuple(images.shape))
        maps = self.norm(self.network(images.flatten(0, 1)))
        patches = maps.movedim(1, -1).unflatten(0, images.shape[:2])
        return Tokens(patches.mean((2, 3)).tanh(), patches)


def heads(*names, out_dim=9):
    torch.manual_seed(5)
    return {name: ProjectionHead(6, out_dim) for name in names}


def model_of(teacher=None, distance='smooth_l1', extra=(), **options):
    options = dict(class_head='cls', patch_head='patch') | options
    loss = FeatureRegressionLoss(teacher or Wide(), distance=distance, **options)
    return make(losses={'regression': loss, **dict(extra)}, heads=heads(*loss.heads))


def slow_distance(student, target, distance):
    """Loops over sets, vectors and numbers, in float64."""
    sets = []
    for of_student, of_target in zip(student.double(), target.double(), strict=True):
        terms = []
        if distance == 'relational':
            for i in range(len(of_student)):
                for j in range(len(of_student)):
                    cosines = [
                        (part[i] @ part[j]) / (part[i] @ part[i]).sqrt() / (part[j] @ part[j]).sqrt()
                        for part in (of_student, of_target)
                    ]
                    terms.append((cosines[0] - cosines[1]) ** 2)
        for s, t in zip(of_student, of_target, strict=True) if distance != 'relational' else ():
            if distance == 'cosine':
                terms.append(1 - (s @ t) / (s @ s).sqrt() / (t @ t).sqrt())
            else:
                gaps = [(a - b).abs() for a, b in zip(s, t, strict=True)]
                terms.append(sum(gap**2 / 2 if gap < 1 else gap - 0.5 for gap in gaps) / len(gaps))
        sets.append(torch.stack(terms).mean())
    return torch.stack(sets).mean()


@pytest.mark.parametrize('distance', DISTANCES)
def test_a_distance_and_its_gradient_equal_the_equation(distance):
    torch.manual_seed(0)
    student, target = torch.randn(3, 5, 4, requires_grad=True), 2 * torch.randn(3, 5, 4)
    reference = student.detach().clone().requires_grad_()
    loss, expected = DISTANCES[distance](student, target), slow_distance(reference, target, distance)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(student.grad, reference.grad, rtol=1e-4, atol=1e-6)
    assert DISTANCES[distance](target, target).abs() < 1e-6


@pytest.mark.parametrize('distance', DISTANCES)
def test_the_loss_is_the_distance_of_projected_tokens_and_the_frozen_networks(distance):
    """Class tokens, patches and local views, each taken apart and compared by the slow distance."""
    teacher = Wide()
    weights = dict(class_weight=0.5, patch_weight=2.0, local_weight=0.25)
    model = model_of(teacher, distance, scale='raw', **weights).eval()
    views = make_views()
    with torch.no_grad():
        local, given = model.student(views)[1], model.student(views)[0]
        wanted = teacher(views.global_views)
        project = model.student.heads
        local_class = project['cls'](local.class_token)
        pairs = [(local_class[a], wanted.class_token[b]) for a in range(3) for b in range(2)]
        expected = (
            0.5 * slow_distance(project['cls'](given.class_token), wanted.class_token, distance)
            + 2.0
            * slow_distance(
                project['patch'](given.patches).reshape(8, 16, 9), wanted.patches.reshape(8, 16, 9), distance
            )
            + 0.25 * slow_distance(*(torch.stack(part) for part in zip(*pairs)), distance)
        )
        loss = model(views, 0.0)['regression']
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)


def test_relations_of_local_views_are_compared_with_any_width():
    teacher, views = Wide(), make_views()
    options = dict(class_head=None, class_weight=0, patch_weight=0, local_weight=1.0, scale='raw')
    model = model_of(teacher, 'relational', **options).eval()
    with torch.no_grad():
        local, wanted = model.student(views)[1].class_token, teacher(views.global_views).class_token
        pairs = [(local[a], wanted[b]) for a in range(3) for b in range(2)]
        terms = [slow_distance(a[None], b[None], 'relational') for a, b in pairs]
        found = model(views, 0.0)['regression']
    torch.testing.assert_close(found.double(), torch.stack(terms).mean(), rtol=1e-5, atol=1e-7)


def test_gradients_reach_the_student_and_its_heads_and_nothing_else():
    teacher = Wide()
    model = model_of(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    model.train()
    train_step(model, make_views())
    assert not model.teacher.training or all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    reached = {name for name, p in model.student.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.split('.')[0] for name in reached} == {'backbone', 'heads'}
    assert {name.split('.')[1] for name in reached if name.startswith('heads')} == {'cls', 'patch'}


def test_training_brings_the_student_to_the_teacher():
    torch.manual_seed(0)
    model = model_of(scale='raw')
    first = train_step(model, make_views())['regression']
    for _ in range(60):
        last = train_step(model, make_views())['regression']
    assert last < 0.5 * first


def test_the_teacher_runs_once_in_a_step_and_several_teachers_are_several_losses():
    teachers = Wide(seed=7), Wide(cell=4, seed=8)
    losses = {
        f'from_{i}': FeatureRegressionLoss(teacher, f'cls_{i}', f'patch_{i}', local_weight=0.5)
        for i, teacher in enumerate(teachers)
    }
    names = [name for loss in losses.values() for name in loss.heads]
    model = make(losses=losses, heads=heads(*names))
    found = model(make_views(), 0.0)
    assert [teacher.seen for teacher in teachers] == [[(2, 4, 3, 8, 8)], [(2, 4, 3, 8, 8)]]
    for name, loss in losses.items():
        alone = make(losses={name: loss}, heads={head: model.student.heads[head] for head in loss.heads})
        torch.testing.assert_close(alone(make_views(), 0.0)[name], found[name])


def test_the_teachers_patches_are_resampled_to_the_students_grid():
    teacher = Wide(cell=1)  # 8 x 8 cells for the student's 4 x 4
    model = model_of(teacher, class_weight=0, scale='raw').eval()
    views = make_views(num_local=1)
    with torch.no_grad():
        maps = teacher(views.global_views).patches.flatten(0, 1).movedim(-1, 1)
        wanted = interpolate(maps, (4, 4), mode='bicubic', antialias=True).movedim(1, -1)
        given = model.student.heads['patch'](model.student(views)[0].patches).flatten(0, 1)
        expected = slow_distance(given.flatten(1, 2), wanted.flatten(1, 2), 'smooth_l1')
        torch.testing.assert_close(model(views, 0.0)['regression'].double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ('cell', 'image_size', 'anchor', 'seen'),
    [
        (2, None, None, (8, 8)),
        (3, None, None, (9, 9)),  # the nearest whole patches
        (5, (10, 15), None, (10, 15)),
        (2, None, 12, (12, 12)),
        (4, 4, 12, (4, 4)),
    ],
)
def test_the_size_of_the_teachers_images(cell, image_size, anchor, seen):
    teacher = Wide(cell)
    views = make_views()
    if anchor:
        views = views._replace(anchor_views=torch.randn(2, 4, 3, anchor, anchor))
    model_of(teacher, image_size=image_size)(views, 0.0)
    assert teacher.seen == [(2, 4, 3, *seen)]


def test_the_teacher_sees_its_own_normalisation():
    """Levels l are (l - m_v) / s_v for the student and (l - m_t) / s_t for the teacher."""
    seen = []
    teacher = Wide()
    teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    levels = 255 * torch.rand(2, 4, 3, 8, 8)
    mine, theirs = (torch.rand(2, 3, 1, 1) * 50 + 10 for _ in range(2))
    options = dict(
        zip(('views_mean', 'views_std', 'mean', 'std'), [*mine.flatten(1).tolist(), *theirs.flatten(1).tolist()])
    )
    model_of(teacher, **options)(ViewBatch((levels - mine[0]) / mine[1]), 0.0)
    torch.testing.assert_close(seen[0], (levels - theirs[0]) / theirs[1], rtol=1e-4, atol=1e-4)


def test_dinos_losses_beside_it_see_what_they_saw():
    """The frozen network of one term is no teacher of the others."""
    alone = make(losses={'dino': DINOLoss('cls', Centering(8))})
    losses = {'dino': DINOLoss('cls', Centering(8)), 'regression': FeatureRegressionLoss(Wide(), 'wide', 'wide')}
    both = make(losses=losses, heads={'cls': make_head(), 'wide': ProjectionHead(6, 9)})
    torch.testing.assert_close(both(make_views(), 0.0)['dino'], alone(make_views(), 0.0)['dino'])


@pytest.mark.parametrize('whiten', [True, False])
def test_the_scale_equals_the_equation(whiten):
    """After four batches; the statistics are those of all of them, and a batch that is not finite changes nothing."""
    torch.manual_seed(0)
    mix = torch.randn(5, 5) * torch.tensor([0.3, 1, 10, 2, 3])
    batches = [torch.randn(30, 5) @ mix + torch.arange(5) for _ in range(4)]
    scale = TargetScale(5, whiten)
    for batch in batches:
        scaled = scale(batch)
    seen = torch.cat(batches).double()
    covariance = (seen - seen.mean(0)).T @ (seen - seen.mean(0)) / len(seen)
    variances, directions = torch.linalg.eigh(covariance if whiten else covariance.diag().diag())
    matrix = directions @ torch.diag(1 / (variances.sqrt() + 0.1 * variances.sqrt().mean())) @ directions.T
    expected = (batches[-1].double() - seen.mean(0)) @ matrix
    torch.testing.assert_close(scaled.double(), expected, rtol=1e-3, atol=1e-3)
    before = {name: value.clone() for name, value in scale.state_dict().items()}
    scale(torch.full((2, 5), math.nan))
    scale.eval()(torch.randn(3, 5))
    assert all(torch.equal(value, before[name]) for name, value in scale.state_dict().items())


def test_whitened_channels_do_not_follow_each_other():
    torch.manual_seed(0)
    features = torch.randn(500, 4) @ torch.randn(4, 4)
    whitened = TargetScale(4)(features)
    before, after = (torch.corrcoef(x.T).tril(-1).square().sum() for x in (features, whitened))
    assert after < 0.2 * before


def test_the_matrix_is_computed_anew_after_1_2_4_8_batches():
    torch.manual_seed(0)
    scale, moved = TargetScale(3), []
    for number in range(1, 10):
        before = scale.matrix.clone()
        scale(torch.randn(6, 3) * number)
        if not torch.equal(before, scale.matrix):
            moved.append(number)
    assert moved == [1, 2, 4, 8]


def test_a_frozen_network_is_in_no_state_dict_and_a_strict_load_does_not_miss_it():
    model = model_of()
    train_step(model, make_views())
    state = model.state_dict()
    assert not any('.network.' in key for key in state)
    assert 'losses.regression.class_scale.mean' in state
    again = model_of()
    again.load_state_dict(state)
    assert torch.equal(again.losses['regression'].patch_scale.mean, model.losses['regression'].patch_scale.mean)
    frozen = FrozenNetwork(Wide())
    frozen.train()
    assert not frozen.state_dict()
    assert not any(module.training for module in frozen.modules())


def test_kept_tokens_are_those_of_the_network_and_each_view_is_asked_once():
    plain, network = FrozenNetwork(Wide()), Wide()
    frozen, images = FrozenNetwork(network, keep=5), torch.randn(2, 3, 3, 4, 4)
    for given in (images, images.flip(1), images[:, :1]):
        for found, expected in zip(frozen(given), plain(given)):
            torch.testing.assert_close(found, expected)
    assert [shape[1] for shape in network.seen] == [6, 1], 'the sixth finds no room'
    vectors = FrozenNetwork(VectorsOnly(), keep=6)
    first = vectors(images)
    assert isinstance(first, ClassTokenOnly) and torch.equal(vectors(images).class_token, first.class_token)


class VectorsOnly(Wide):
    def forward(self, images, masks=None, local=False):
        return ClassTokenOnly(super().forward(images).class_token, None)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"distance='l3' must be one of \['cosine', 'relational', 'smooth_l1'\]"):
        model_of(distance='l3')
    with pytest.raises(ValueError, match=r"scale='grey' must be 'raw', 'standardised' or 'whitened'"):
        model_of(scale='grey')
    for weights in (dict(class_weight=-1), dict(class_weight=0, patch_weight=0)):
        with pytest.raises(ValueError, match='none may be negative, and one must be positive'):
            model_of(**weights)
    with pytest.raises(ValueError, match=r"image_size=9 must be a multiple of the teacher's patch size, \(2, 2\)"):
        model_of(image_size=9)
    with pytest.raises(ValueError, match='need each other'):
        model_of(mean=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match='the teacher gives no patches; set patch_weight=0'):
        model_of(VectorsOnly())(make_views(), 0.0)
    assert model_of(VectorsOnly(), patch_weight=0)(make_views(), 0.0)['regression'] > 0
    with pytest.raises(ValueError, match='there are no local views; set num_local'):
        model_of(local_weight=1.0)(make_views(num_local=0), 0.0)
    with pytest.raises(ValueError, match=r'gives 6 features after head None and the teacher 9; name a head'):
        model_of(class_head=None)(make_views(), 0.0)
    assert model_of(distance='relational', class_head=None, patch_head=None)(make_views(), 0.0)['regression'] > 0


def test_a_projection_is_one_layer_or_two():
    torch.manual_seed(0)
    tokens = torch.randn(2, 3, 6)
    one, two = ProjectionHead(6, 4, batch_norm=False), ProjectionHead(6, 4, hidden_dim=5)
    torch.testing.assert_close(one(tokens), tokens @ one.layers[0].weight.T + one.layers[0].bias)
    normalised = (tokens - tokens.mean((0, 1))) / (tokens.var((0, 1), correction=0) + 1e-5).sqrt()
    hidden = nn.functional.gelu(normalised @ two.layers[0].weight.T + two.layers[0].bias)
    torch.testing.assert_close(two(tokens), hidden @ two.layers[2].weight.T + two.layers[2].bias)
