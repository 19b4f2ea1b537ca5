"""The equation against loops, and the anchor's life: when it is copied, what it sees, how it survives a resume."""

import copy
import math

import pytest
import torch
from torch import nn

from dino_plugin.core.distillation import Network, SelfDistillation
from dino_plugin.core.losses.base import Step
from dino_plugin.core.losses.gram import GramLoss, gram_difference, to_grid
from dino_plugin.core.schedules import Linear
from dino_plugin.core.views import Tokens, ViewBatch


def plain_gram_difference(student, anchor):
    """The equation: one loop per symbol, in float64."""
    student, anchor = student.double(), anchor.double()
    images = []
    for s, a in zip(student, anchor, strict=True):
        entries = []
        for i in range(len(s)):
            for j in range(len(s)):
                cosine = (s[i] * s[j]).sum() / (s[i].norm() * s[j].norm())
                of_anchor = (a[i] * a[j]).sum() / (a[i].norm() * a[j].norm())
                entries.append((cosine - of_anchor) ** 2)
        images.append(torch.stack(entries).mean())
    return torch.stack(images).mean()


def rotation(dim):
    return torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))[0].float()


@pytest.mark.parametrize(('images', 'patches', 'dim', 'anchor_dim'), [(3, 5, 4, 4), (1, 7, 3, 6), (2, 1, 4, 2)])
def test_the_loss_and_its_gradient_equal_the_equation(images, patches, dim, anchor_dim):
    torch.manual_seed(0)
    student, anchor = torch.randn(images, patches, dim, requires_grad=True), torch.randn(images, patches, anchor_dim)
    reference = student.detach().double().requires_grad_()
    loss, expected = gram_difference(student, anchor), plain_gram_difference(reference, anchor)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(student.grad.double(), reference.grad, rtol=1e-4, atol=1e-7)


def test_the_loss_and_its_gradient_are_zero_where_student_and_anchor_agree():
    torch.manual_seed(0)
    student = torch.randn(4, 50, 16, requires_grad=True)
    loss = gram_difference(student, student.detach().clone())
    loss.backward()
    assert loss == 0
    assert torch.equal(student.grad, torch.zeros_like(student))
    assert gram_difference(student, student.detach() @ rotation(16)) < 1e-12


def test_only_angles_within_an_image_count():
    torch.manual_seed(0)
    student, anchor = torch.randn(4, 6, 8), torch.randn(4, 6, 8)
    loss = gram_difference(student, anchor)
    lengths = torch.rand(4, 6, 1) + 0.1
    images, patches = torch.randperm(4), torch.randperm(6)
    for same in (
        gram_difference(student @ rotation(8), anchor),
        gram_difference(student, anchor @ rotation(8)),
        gram_difference(student * lengths, anchor),
        gram_difference(student, anchor * lengths),
        gram_difference(student[images], anchor[images]),
        gram_difference(student[:, patches], anchor[:, patches]),
    ):
        torch.testing.assert_close(same, loss)
    assert not torch.isclose(gram_difference(student[images], anchor), loss)
    assert not torch.isclose(gram_difference(student[:, patches], anchor), loss)


def test_negative_cosines_are_not_clipped_and_a_patch_with_itself_counts_as_zero():
    """Two of the four entries differ, by 1 and by 2."""
    one, other = [1.0, 0.0], [0.0, 1.0]
    opposite = torch.tensor([[one, [-1.0, 0.0]]])
    assert gram_difference(opposite, torch.tensor([[one, other]])) == 0.5
    assert gram_difference(opposite, torch.tensor([[one, one]])) == 2.0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_computed_in_float32_under_any_autocast(dtype):
    torch.manual_seed(0)
    student, anchor = torch.randn(2, 9, 32), torch.randn(2, 9, 32)
    expected = gram_difference(student, anchor)
    with torch.autocast('cpu', dtype=dtype):
        loss = gram_difference(student, anchor)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


@pytest.mark.parametrize('grid', [(4, 6), (8, 12), (16, 24)])
def test_a_constant_map_stays_constant_on_any_grid(grid):
    patches = torch.randn(5).expand(2, 3, 8, 12, 5)
    torch.testing.assert_close(to_grid(patches, *grid), torch.broadcast_to(patches[0, 0, 0, 0], (2, 3, *grid, 5)))


def test_a_ramp_stays_a_ramp_in_the_interior():
    """Each cell of half the resolution lies midway between two, along rows and columns."""
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing='ij')
    ramp = torch.stack([rows, columns, 2 * rows - columns], dim=-1)
    half = to_grid(ramp[None, None], 6, 8)[0, 0]
    inner = (slice(1, -1), slice(1, -1))
    midway = (ramp[::2, ::2] + ramp[1::2, 1::2]) / 2
    torch.testing.assert_close(half[inner], midway[inner])


def test_half_the_resolution_weighs_cells_as_documented():
    cells = torch.randn(8)
    half = to_grid(cells.expand(4, 8)[None, None, ..., None], 2, 4)[0, 0, 0, :, 0]
    covered, beside = (cells[2:6:2] + cells[3:7:2]) / 2, (cells[1:5:2] + cells[4:8:2]) / 2
    torch.testing.assert_close(half[1:3], (19 * covered - 3 * beside) / 16)


def test_a_map_on_the_same_grid_is_left_alone():
    patches = torch.randn(2, 3, 4, 5, 6)
    assert to_grid(patches, 4, 5) is patches


class Backbone(nn.Module):
    """Squares of two pixels -> tokens, with a batch norm; records what it sees, and whether gradients may follow."""

    embed_dim = 6

    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(3, 6, 2, 2)
        self.norm = nn.BatchNorm2d(6)
        self.seen, self.recorded = [], []

    def forward(self, images, masks=None, local=False):
        self.seen.append(images)
        self.recorded.append(torch.is_grad_enabled())
        maps = self.norm(self.project(images.flatten(0, 1)))
        patches = maps.movedim(1, -1).unflatten(0, images.shape[:2])
        return Tokens(patches.mean((2, 3)), patches)


def make_views(anchor_size=None, batch=2, num_anchor=2):
    torch.manual_seed(1)
    anchor_views = torch.randn(num_anchor, batch, 3, *anchor_size) if anchor_size else None
    return ViewBatch(torch.randn(2, batch, 3, 4, 6), torch.randn(4, batch, 3, 2, 2), anchor_views=anchor_views)


def make(seed=0, **arguments):
    """Student, teacher and anchor with weights of their own, the latter two with statistics of a batch norm."""
    torch.manual_seed(seed)
    model = SelfDistillation(Backbone(), {}, {'gram': GramLoss(**arguments)}, momentum=0.5)
    with torch.no_grad():
        for value in [*model.student.parameters(), *model.losses['gram'].anchor.parameters()]:
            value.add_(0.3 * torch.randn_like(value))
    model.losses['gram'].anchor.norm.running_var.fill_(2.0)
    return model


@pytest.mark.parametrize('anchor_size', [None, (8, 12), (6, 6)])
def test_the_term_is_the_equation_on_patches_of_the_same_grid(anchor_size):
    model, views = make(weight=3.0), make_views(anchor_size)
    loss, student = model.losses['gram'], copy.deepcopy(model.student.backbone)
    value = model(views, 0.0)['gram']
    given = views.global_views if anchor_size is None else views.anchor_views
    assert len(loss.anchor.seen) == 1
    assert loss.anchor.seen[0] is given
    ours = student(views.global_views).patches
    theirs = to_grid(loss.anchor(given).patches, 2, 3)
    assert ours.shape == theirs.shape == (2, 2, 2, 3, 6)
    terms = []
    for view in range(2):
        terms += [
            plain_gram_difference(a.reshape(1, -1, 6), b.reshape(1, -1, 6))
            for a, b in zip(ours[view], theirs[view], strict=True)
        ]
    expected = 3 * torch.stack(terms).mean()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-9)
    value.backward()
    expected.backward()
    for ours, reference in zip(model.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-3, atol=1e-7)


def test_a_student_that_is_its_anchor_loses_nothing():
    torch.manual_seed(0)
    model = SelfDistillation(Backbone(), {}, {'gram': GramLoss()}, momentum=0.5).eval()
    assert model(make_views(), 0.0)['gram'] == 0
    assert model(make_views((8, 12)), 0.0)['gram'] > 0


def test_the_gradient_flows_into_the_student_only():
    model = make()
    model(make_views((8, 12)), 0.0)['gram'].backward()
    assert all(p.grad is not None for p in model.student.parameters())
    assert model.student.backbone.project.weight.grad.norm() > 0
    frozen = [*model.losses['gram'].anchor.parameters(), *model.teacher.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    assert model.losses['gram'].anchor.recorded == [False]
    assert not model.uses_teacher, 'the anchor stands in its place'
    assert model.teacher.backbone.seen == []


def test_the_anchor_does_not_change_by_being_looked_at():
    model = make().train()
    before = {name: value.clone() for name, value in model.losses['gram'].anchor.state_dict().items()}
    model(make_views(), 0.0)
    assert not model.losses['gram'].anchor.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.losses['gram'].anchor.state_dict().items())
    assert model.losses['gram'].eval().train().training


def test_without_weight_the_anchor_does_not_run_and_the_zero_belongs_to_the_graph():
    model = make(weight=Linear(0.0, 2.0))
    loss = model(make_views(), 0.0)['gram']
    assert loss == 0
    assert model.losses['gram'].anchor.seen == []
    loss.backward()
    gradients = [p.grad for p in model.student.backbone.parameters()]
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in gradients)
    model(make_views(), 0.5)
    assert len(model.losses['gram'].anchor.seen) == 1


@pytest.mark.parametrize('value', [math.inf, 6e4])
def test_without_weight_tokens_of_any_size_give_zero(value):
    tokens = Tokens(torch.zeros(1, 1, 2), torch.full((1, 1, 2, 2, 2), value, dtype=torch.float16))
    loss = GramLoss(weight=0.0)
    loss.follow_teacher(Network(Backbone(), {}), 0.0)
    step = Step(ViewBatch(torch.zeros(1, 1, 3, 4, 4)), tokens, None, None, {}, {}, 0.0)
    assert loss(step) == 0


def content(network):
    """What the walk writes into teachers: parameters and buffers hold the number of the step."""
    values = {float(value) for tensor in network.state_dict().values() for value in tensor.flatten().unique()}
    assert len(values) == 1
    return values.pop()


def write(network, number):
    for tensor in network.state_dict().values():
        tensor.fill_(number)


def walk(loss, teacher, steps):
    """The anchor after each of ten steps: after step k the teacher holds k + 1, at progress k / 10."""
    seen = []
    for step in steps:
        write(teacher, step + 1)
        loss.follow_teacher(teacher, step / 10)
        seen.append(content(loss.anchor))
    return seen


def begin(refresh):
    loss, teacher = GramLoss(refresh=refresh), Network(Backbone(), {})
    write(teacher, 0)
    loss.follow_teacher(teacher, 0.0)
    return loss, teacher


@pytest.mark.parametrize(
    ('refresh', 'expected'),
    [
        ((), [0] * 10),
        ((0.3, 0.6), [0, 0, 0, 4, 4, 4, 7, 7, 7, 7]),
        ((0.25,), [0, 0, 0, 4, 4, 4, 4, 4, 4, 4]),
        ((0.01, 0.02, 0.05), [0, 2, 2, 2, 2, 2, 2, 2, 2, 2]),
        ((0.9, 1.0), [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]),
    ],
)
def test_the_anchor_is_the_teacher_of_the_last_point_that_was_reached(refresh, expected):
    loss, teacher = begin(refresh)
    assert walk(loss, teacher, range(10)) == expected
    write(teacher, 77)
    assert content(loss.anchor) == expected[-1], 'a copy, not the teacher itself'


@pytest.mark.parametrize('stop', [1, 2, 3, 4, 5, 6, 7, 9])
@pytest.mark.parametrize('same_object', [False, True])
def test_a_run_that_goes_on_from_a_saved_state_refreshes_neither_twice_nor_too_seldom(stop, same_object):
    """Saved before, at and after the points; also where the object that loads has been further already."""
    refresh, expected = (0.3, 0.6), [0, 0, 0, 4, 4, 4, 7, 7, 7, 7]
    loss, teacher = begin(refresh)
    walk(loss, teacher, range(stop))
    saved = copy.deepcopy(loss.state_dict())
    if same_object:
        walk(loss, teacher, range(stop, 10))
    else:
        loss, teacher = begin(refresh)
    loss.load_state_dict(saved)
    assert walk(loss, teacher, range(stop, 10)) == expected[stop:]
    assert loss.refreshes == 2


def test_the_host_reads_the_counter_once_for_each_loaded_state(monkeypatch):
    loss, teacher = begin((0.3, 0.6))
    reads = []
    monkeypatch.setattr(torch.Tensor, '__int__', lambda tensor: reads.append(tensor) or tensor.tolist())
    for name in ('__bool__', 'item', '__float__'):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor: pytest.fail('the host waited for the device'))
    for step in range(5):
        loss.follow_teacher(teacher, step / 10)
    assert reads == []
    loss.load_state_dict(loss.state_dict())
    for step in range(5, 10):
        loss.follow_teacher(teacher, step / 10)
    assert len(reads) == 1


def test_weights_of_a_run_without_an_anchor_make_the_anchor_anew():
    """Training goes on with this loss where it had none: the anchor must not be what the network started from."""
    model, views = make(), make_views()
    state = {name: value for name, value in make(seed=5).state_dict().items() if not name.startswith('losses.gram')}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith('losses.gram.') for name in missing)
    assert model(views, 0.5)['gram'] == 0
    assert model.losses['gram'].anchor.seen == []
    model.update_teacher(0.5)
    anchor, teacher = model.losses['gram'].anchor.state_dict(), model.teacher.backbone.state_dict()
    assert all(torch.equal(anchor[name], value) for name, value in teacher.items())
    assert model(views, 0.5)['gram'] > 0


def test_the_anchor_is_frozen_whatever_it_was_copied_from():
    loss, teacher = begin(())
    assert all(p.requires_grad for p in teacher.parameters())
    assert not any(p.requires_grad for p in loss.anchor.parameters())
    assert teacher.backbone.norm.training
    assert not loss.anchor.norm.training


def test_the_anchor_is_in_the_state_with_parameters_and_statistics():
    model = make()
    names = {name.removeprefix('losses.gram.') for name in model.state_dict() if name.startswith('losses.')}
    assert names == {'refreshes', *(f'anchor.{name}' for name in model.student.backbone.state_dict())}


@pytest.mark.parametrize('refresh', [(0.0,), (0.5, 0.2), (0.2, 0.2), (0.5, 1.1), (math.nan,)])
def test_points_out_of_order_or_range_are_refused(refresh):
    with pytest.raises(ValueError, match=r'must be different points of progress in \(0, 1\]'):
        GramLoss(refresh=refresh)


def test_a_loss_without_an_anchor_says_what_is_missing():
    step = Step(make_views(), Tokens(torch.zeros(2, 2, 6), torch.zeros(2, 2, 2, 3, 6)), None, None, {}, {}, 0.0)
    with pytest.raises(ValueError, match='call follow_teacher'):
        GramLoss()(step)


@pytest.mark.parametrize('views', [make_views((3, 6)), make_views((4, 5)), make_views((8, 12), num_anchor=1)])
def test_anchor_views_that_are_smaller_or_not_as_many_are_refused(views):
    with pytest.raises(ValueError, match='at least the same size: set anchor_size'):
        make()(views, 0.0)
