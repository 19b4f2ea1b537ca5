"""Clusters and their prediction: equations written out, who learns by what, what the predictor may not see."""

import math

import pytest
import torch
from processes import run_in_processes
from small_distillation import make, make_views
from torch import nn

from dino_plugin.core.losses.base import Step
from dino_plugin.core.losses.cluster_prediction import ClusteringLoss, ClusterPredictionLoss
from dino_plugin.core.masking import random_masks
from dino_plugin.core.positionwise_targets import PositionwiseSinkhornKnopp
from dino_plugin.core.prediction import ClusterHead, PatchPredictor, grid_positions
from dino_plugin.core.targets import SinkhornKnopp
from dino_plugin.core.views import Tokens, ViewBatch

VIEWS, BATCH, ROWS, COLUMNS, DIM, CLUSTERS = 2, 3, 2, 4, 6, 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_masks(*numbers):
    masks = random_masks(torch.tensor(numbers), ROWS, COLUMNS, torch.Generator().manual_seed(3))
    return masks.unflatten(0, (VIEWS, BATCH))


def draw_tokens(seed=0):
    patches = draw(VIEWS, BATCH, ROWS, COLUMNS, DIM, seed=seed)
    return Tokens(draw(VIEWS, BATCH, DIM, seed=seed + 50), patches)


def make_heads(**arguments):
    torch.manual_seed(0)
    predictor = PatchPredictor(DIM, CLUSTERS, dim=8, depth=2, num_heads=2, **arguments)
    return nn.ModuleDict({'clusters': ClusterHead(DIM, CLUSTERS), 'predictor': predictor})


def make_step(heads, masks=None, student=None, teacher=None):
    views = ViewBatch(torch.zeros(VIEWS, BATCH, 3, 4, 8))
    views = views if masks is None else views.with_masks(masks)
    return Step(views, student or draw_tokens(1), None, teacher or draw_tokens(2), heads, {}, 0.0)


def assigned_by_hand(scores, temperature, iterations=3):
    """Sinkhorn-Knopp of products and sums at each place by itself."""
    result = torch.zeros_like(scores)
    for row in range(ROWS):
        for column in range(COLUMNS):
            shares = (scores[:, :, row, column].flatten(0, 1).double() / temperature).exp()
            for _ in range(iterations):
                shares = shares / shares.sum(dim=0, keepdim=True) / CLUSTERS
                shares = shares / shares.sum(dim=1, keepdim=True) / len(shares)
            result[:, :, row, column] = (shares * len(shares)).unflatten(0, (VIEWS, BATCH)).float()
    return result


def entropy(scores, target, temperature):
    return -float((target * (scores / temperature).log_softmax(dim=-1)).sum())


def test_assignments_are_those_of_each_place_by_itself():
    scores = 0.1 * draw(VIEWS, BATCH, ROWS, COLUMNS, CLUSTERS)
    assert torch.allclose(PositionwiseSinkhornKnopp()(scores, 0.06), assigned_by_hand(scores, 0.06), atol=1e-5)
    one_place = scores[:, :, :1, :1]
    assert torch.allclose(PositionwiseSinkhornKnopp()(one_place, 0.06), SinkhornKnopp()(one_place, 0.06))


def test_the_place_tells_nothing_about_the_cluster():
    scores = draw(VIEWS, BATCH, ROWS, COLUMNS, 3) + 5 * draw(ROWS, COLUMNS, 3, seed=1)  # clusters of places
    shares = PositionwiseSinkhornKnopp(iterations=200)(scores, 1.0).mean(dim=(0, 1))
    assert torch.allclose(shares, torch.full_like(shares, 1 / 3), atol=1e-3)
    assert SinkhornKnopp(iterations=200)(scores, 1.0).mean(dim=(0, 1)).std(dim=(0, 1)).max() > 0.2


def check_positionwise(rank, scores, expected):
    share = scores[:, :1] if rank == 0 else scores[:, 1:]
    mine = expected[:, :1] if rank == 0 else expected[:, 1:]
    assert torch.allclose(PositionwiseSinkhornKnopp()(share, 0.5), mine, atol=1e-6)


def test_two_ranks_assign_as_one_with_all_images():
    scores = draw(VIEWS, BATCH, ROWS, COLUMNS, CLUSTERS)
    run_in_processes(check_positionwise, scores, PositionwiseSinkhornKnopp()(scores, 0.5))


def test_clustering_is_the_equation():
    heads, teacher = make_heads(), draw_tokens(2)
    scores = heads['clusters'](teacher.patches).detach()
    unit = teacher.patches / teacher.patches.norm(dim=-1, keepdim=True)
    layer = heads['clusters'].layer
    assert torch.allclose(scores, unit @ layer.weight.T + layer.bias, atol=1e-5)
    expected = entropy(scores, assigned_by_hand(scores, 0.06), 0.12) / (VIEWS * BATCH * ROWS * COLUMNS)
    loss = ClusteringLoss('clusters', PositionwiseSinkhornKnopp())(make_step(heads, teacher=teacher))
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_prediction_is_the_equation_with_the_mean_of_each_image_first():
    heads, teacher, student, masks = make_heads(), draw_tokens(2), draw_tokens(1), draw_masks(3, 0, 1, 8, 5, 2)
    assigned = assigned_by_hand(heads['clusters'](teacher.patches).detach(), 0.06)
    predicted = heads['predictor'](student, masks).detach()
    expected, start = 0.0, 0
    for view in range(VIEWS):
        for image in range(BATCH):
            target = assigned[view, image][masks[view, image]]
            scores = predicted[start : start + len(target)]
            expected += entropy(scores, target, 0.12) / max(1, len(target)) / (VIEWS * BATCH)
            start += len(target)
    loss = ClusterPredictionLoss('predictor', 'clusters', PositionwiseSinkhornKnopp())
    assert float(loss(make_step(heads, masks, student, teacher))) == pytest.approx(expected, rel=1e-4)


def test_clusters_learn_by_clustering_alone_and_the_student_by_prediction_alone():
    heads, student, teacher = make_heads(), draw_tokens(1), draw_tokens(2)
    inputs = [part.requires_grad_() for part in student]
    step = make_step(heads, draw_masks(*6 * [4]), student, teacher)
    ClusteringLoss('clusters', PositionwiseSinkhornKnopp())(step).backward()
    assert all(parameter.grad.any() for parameter in heads['clusters'].parameters())
    assert all(parameter.grad is None for parameter in [*heads['predictor'].parameters(), *inputs])
    before = [parameter.grad.clone() for parameter in heads['clusters'].parameters()]
    ClusterPredictionLoss('predictor', 'clusters', PositionwiseSinkhornKnopp())(step).backward()
    assert all(map(torch.equal, before, (parameter.grad for parameter in heads['clusters'].parameters())))
    assert all(parameter.grad.any() for parameter in inputs)


def test_the_predictor_sees_no_masked_patch_and_every_visible_one():
    predictor, student, masks = make_heads()['predictor'], draw_tokens(1), draw_masks(3, 2, 1, 8, 5, 7)
    student.patches.requires_grad_()
    predictor(student, masks).square().sum().backward()
    seen = student.patches.grad.abs().sum(dim=-1) > 0
    assert torch.equal(seen, ~masks)


def test_other_images_do_not_change_a_prediction_whatever_their_masks():
    predictor, student, masks = make_heads()['predictor'], draw_tokens(1), draw_masks(3, 2, 1, 8, 5, 7)
    together = predictor(student, masks)
    alone = [
        predictor(Tokens(*(part[v : v + 1, i : i + 1] for part in student)), masks[v : v + 1, i : i + 1])
        for v in range(VIEWS)
        for i in range(BATCH)
    ]
    assert torch.allclose(torch.cat(alone), together, atol=1e-5)


def test_places_differ_and_do_not_depend_on_the_number_of_cells():
    positions = grid_positions(3, 5, 16)
    assert (torch.cdist(positions, positions) + 9 * torch.eye(15)).min() > 0.1
    assert torch.allclose(grid_positions(1, 1, 16), positions[7:8], atol=1e-6)  # the middle of any odd grid
    assert torch.allclose(positions.square().sum(dim=1), torch.full((15,), 8.0))


def test_training_learns_to_predict_the_clusters():
    torch.manual_seed(0)
    heads = {'clusters': ClusterHead(6, 8), 'predictor': PatchPredictor(6, 8, dim=16, depth=1, num_heads=2)}
    losses = {
        'clustering': ClusteringLoss('clusters', PositionwiseSinkhornKnopp()),
        'prediction': ClusterPredictionLoss('predictor', 'clusters', PositionwiseSinkhornKnopp()),
    }
    model, views = make(losses=losses, heads=heads, momentum=1.0), make_views(num_local=0, num_masked=[6] * 8)
    optimiser, history = torch.optim.Adam(model.student.parameters(), lr=0.01), []
    for _ in range(60):
        history.append(model(views, 0.0))
        optimiser.zero_grad()
        sum(history[-1].values()).backward()
        optimiser.step()
    assert float(history[-1]['prediction']) < 0.5 * float(history[0]['prediction'])
    assert float(history[-1]['clustering']) < float(history[0]['clustering'])
    assert float(history[-1]['prediction']) < math.log(8)


def test_it_is_computed_in_float32_under_autocast():
    heads, masks = make_heads(), draw_masks(*6 * [4])
    loss = ClusterPredictionLoss('predictor', 'clusters', PositionwiseSinkhornKnopp())
    plain = loss(make_step(heads, masks))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = loss(make_step(heads, masks))
    assert inside.dtype == torch.float32
    assert float(inside) == pytest.approx(float(plain), rel=0.05)


def test_mistakes_are_refused_with_a_cure():
    heads = make_heads()
    loss = ClusterPredictionLoss('predictor', 'clusters', PositionwiseSinkhornKnopp())
    with pytest.raises(ValueError, match='no masks; set collate_fn'):
        loss(make_step(heads))
    with pytest.raises(ValueError, match='at least 2 clusters'):
        ClusterHead(4, 1)
    with pytest.raises(ValueError, match='multiple of 4 and of num_heads=3'):
        PatchPredictor(4, 8, dim=16, num_heads=3)
    for build in (
        lambda: ClusteringLoss('clusters', SinkhornKnopp(), temperature=0),
        lambda: ClusterPredictionLoss('predictor', 'clusters', SinkhornKnopp(), temperature=0),
    ):
        with pytest.raises(ValueError, match='temperature=0 must be positive'):
            build()
