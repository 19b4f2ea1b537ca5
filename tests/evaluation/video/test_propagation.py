"""Label propagation against slow versions written from the protocol, one loop per symbol."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dino_plugin.evaluation.video import propagation
from dino_plugin.evaluation.video.propagation import LabelPropagator, propagate_labels


def slow_labels(target, context, labels, radius, circular, top_k, temperature):
    """Every weight by itself, in float64: neighbourhood, the k-th largest as a threshold, normalisation."""
    frames, rows, columns, objects = labels.shape
    target, context, labels = (tensor.double().numpy() for tensor in (target, context, labels))
    result = np.zeros((rows, columns, objects))
    for i in range(rows):
        for j in range(columns):
            weights, found = [], []
            for frame in range(frames):
                for y in range(rows):
                    for x in range(columns):
                        near = math.hypot(y - i, x - j) <= radius if circular else max(abs(y - i), abs(x - j)) <= radius
                        if near:
                            weights.append(math.exp(float(target[i, j] @ context[frame, y, x]) / temperature))
                            found.append(labels[frame, y, x])
            least = sorted(weights, reverse=True)[:top_k][-1]
            kept = [weight if weight >= least else 0.0 for weight in weights]
            result[i, j] = sum(weight * label for weight, label in zip(kept, found)) / sum(kept)
    return torch.from_numpy(result)


def a_video(frames, rows, columns, dim=6, seed=0, objects=3):
    """Features that change slowly, and labels of the first frame."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(1, rows, columns, dim, generator=generator)
    features = normalize(scene + 0.5 * torch.randn(frames, rows, columns, dim, generator=generator), dim=-1)
    labels = torch.rand(frames, rows, columns, objects, generator=generator).softmax(dim=-1)
    return features, labels


@pytest.mark.parametrize('circular', [False, True])
@pytest.mark.parametrize(('radius', 'top_k', 'temperature'), [(2, 5, 0.1), (1, 3, 0.2), (20, 5, 0.1), (0, 7, 0.1)])
@pytest.mark.parametrize(('rows', 'columns'), [(5, 7), (1, 4), (18, 3)])
def test_labels_are_those_of_the_protocol(rows, columns, radius, top_k, temperature, circular, monkeypatch):
    monkeypatch.setattr(propagation, 'TILE', 4)
    features, labels = a_video(4, rows, columns)
    arguments = (features[-1], features[:-1], labels[:-1], radius, circular, top_k, temperature)
    found = propagate_labels(*arguments)
    torch.testing.assert_close(found.double(), slow_labels(*arguments), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(rows, columns))


@pytest.mark.parametrize('tile', [16, 5])
def test_equally_similar_patches_all_count(tile, monkeypatch):
    """As in a video that stands still: all frames of the context are equally good, more than top_k of them."""
    monkeypatch.setattr(propagation, 'TILE', tile)  # 5: the last tile has one patch
    features, labels = a_video(1, 6, 6)
    context, labels = features.expand(7, -1, -1, -1).contiguous(), torch.rand(7, 6, 6, 2).softmax(dim=-1)
    found = propagate_labels(features[0], context, labels, radius=1, top_k=5)
    reference = slow_labels(features[0], context, labels, 1, False, 5, 0.1)
    torch.testing.assert_close(found.double(), reference, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, labels.mean(dim=0), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize('tile', [1, 5, 64])
def test_the_size_of_the_tiles_changes_nothing(tile, monkeypatch):
    features, labels = a_video(9, 20, 33, dim=32, objects=4)
    expected = propagate_labels(features[-1], features[:-1], labels[:-1], radius=6)
    monkeypatch.setattr(propagation, 'TILE', tile)
    found = propagate_labels(features[-1], features[:-1], labels[:-1], radius=6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(found.argmax(dim=-1), expected.argmax(dim=-1))


def whole(target, context, labels, radius, top_k, temperature):
    """The plain algorithm: all similarities at once, those far away multiplied by zero."""
    rows, columns = target.shape[:2]
    row, column = torch.arange(rows), torch.arange(columns)
    near_rows, near_columns = (row[:, None] - row).abs() <= radius, (column[:, None] - column).abs() <= radius
    near = (near_rows[:, None, :, None] & near_columns[None, :, None, :]).reshape(rows * columns, 1, -1)
    weights = (torch.einsum('pd,fqd->pfq', target.flatten(0, 1), context.flatten(1, 2)) / temperature).exp() * near
    weights = weights.flatten(1)
    weights = weights * (weights >= weights.topk(top_k).values[:, -1:])
    return (weights / weights.sum(dim=1, keepdim=True) @ labels.flatten(0, 2)).view(rows, columns, -1)


def test_at_full_size_every_patch_gets_the_object_of_the_plain_algorithm():
    features, labels = a_video(9, 30, 52, dim=64)
    expected = whole(features[-1], features[:-1], labels[:-1], 12, 5, 0.1)
    found = propagate_labels(features[-1], features[:-1], labels[:-1])
    assert torch.equal(found.argmax(dim=-1), expected.argmax(dim=-1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_few_patches_are_looked_up_again(monkeypatch):
    features, labels = a_video(9, 19, 34, dim=64)
    again = []
    usual = propagation._mean_with_ties
    monkeypatch.setattr(propagation, '_mean_with_ties', lambda *args: again.extend(args[0]) or usual(*args))
    propagate_labels(features[-1], features[:-1], labels[:-1])
    assert len(again) <= 5
    propagate_labels(features[0], features[:1].expand(9, -1, -1, -1), labels[:9])  # equal frames
    assert len(again) >= 19 * 34


def test_equal_samples_are_equally_similar():
    """To the last bit, for one query as for many: ties are counted by it."""
    samples, queries = torch.randn(100, 37).repeat(7, 1), torch.randn(5, 37)
    for chosen in (queries, queries[:1]):
        copies = propagation._products(chosen, samples).view(-1, 7, 100)
        assert torch.equal(copies, copies[:, :1].expand_as(copies))


def test_objects_do_not_influence_each_other():
    """Any number of them: each channel is what it would be alone."""
    features, _ = a_video(4, 5, 6)
    labels = torch.rand(3, 5, 6, 200)
    together = propagate_labels(features[-1], features[:-1], labels)
    alone = propagate_labels(features[-1], features[:-1], labels[..., 150:151])
    torch.testing.assert_close(together[..., 150:151], alone)


def test_equally_similar_places_all_count():
    """As on a wall of one colour: more than top_k places of one frame are equally good."""
    wall = normalize(torch.ones(6, 6, 4), dim=-1)
    labels = torch.rand(1, 6, 6, 2).softmax(dim=-1)
    found = propagate_labels(wall, wall[None], labels, radius=1, top_k=5)
    torch.testing.assert_close(found[3, 3], labels[0, 2:5, 2:5].mean(dim=(0, 1)))
    torch.testing.assert_close(found[0, 0], labels[0, :2, :2].mean(dim=(0, 1)))


# --- a whole clip -----------------------------------------------------------------------------------------------------


def slow_clip(features, first, num_context, radius, top_k, temperature):
    """DINO's queue: the first frame, and the last frames with the labels found for them."""
    known = [(features[0], first)]
    result = []
    for patches in features[1:]:
        context = [known[0], *known[1:][-num_context:]] if num_context else known[:1]
        context_features, context_labels = (torch.stack(part) for part in zip(*context))
        labels = slow_labels(patches, context_features, context_labels, radius, False, top_k, temperature).float()
        known.append((patches, labels))
        result.append(labels)
    return result


@pytest.mark.parametrize('num_context', [0, 1, 3])
def test_the_context_is_the_first_frame_and_the_last_ones(num_context):
    features, labels = a_video(8, 4, 5)
    propagator = LabelPropagator(num_context, radius=1, top_k=3, temperature=0.1)
    found = list(propagator(3 * features, labels[0]))  # normalised inside
    expected = slow_clip(features, labels[0], num_context, 1, 3, 0.1)
    assert len(found) == 7
    for mine, reference in zip(found, expected):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_a_video_that_stands_still_keeps_its_labels():
    features, labels = a_video(1, 6, 8, dim=16)
    one_hot = (labels[0] == labels[0].amax(dim=-1, keepdim=True)).float()
    *_, last = LabelPropagator(top_k=1)(features.expand(12, -1, -1, -1), one_hot)
    assert torch.equal(last.argmax(dim=-1), one_hot.argmax(dim=-1))


def test_an_object_that_moves_is_followed_within_the_radius_only():
    def frames(step):
        scene = normalize(torch.randn(4, 24, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
        return [torch.roll(scene, step * number, dims=1) for number in range(4)]

    labels = torch.zeros(4, 24, 2)
    labels[..., 0] = 1
    labels[:, 2:5] = torch.tensor([0.0, 1.0])

    def columns_of_object(step):
        *_, last = LabelPropagator(radius=2, top_k=1)(frames(step), labels)
        return last.argmax(dim=-1)[0, 6:].nonzero().flatten().add(6).tolist()  # what enters at the left is new

    assert columns_of_object(step=2) == [8, 9, 10]
    assert columns_of_object(step=4) != [14, 15, 16]


def test_frames_are_asked_for_one_by_one_and_few_are_kept():
    asked = []

    def features():
        for number in range(100):
            asked.append(number)
            yield torch.randn(3, 3, 4)

    labels = LabelPropagator(num_context=2)(features(), torch.rand(3, 3, 2))
    for number in range(1, 5):
        next(labels)
        assert asked[-1] == number
    assert labels.gi_frame.f_locals['known'].shape[0] == 3


def test_each_argument_changes_the_labels():
    features, labels = a_video(8, 8, 8)
    *_, usual = LabelPropagator(radius=3)(features, labels[0])
    for change in (
        dict(num_context=1),
        dict(radius=2),
        dict(neighbourhood='circle'),
        dict(top_k=2),
        dict(temperature=1),
    ):
        *_, changed = LabelPropagator(**{'radius': 3, **change})(features, labels[0])
        assert not torch.allclose(changed, usual), change


@pytest.mark.parametrize(
    'wrong',
    [
        dict(num_context=-1),
        dict(radius=-1),
        dict(top_k=0),
        dict(temperature=0.0),
        dict(neighbourhood='oval'),
    ],
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f'LabelPropagator: {next(iter(wrong))} must be'):
        LabelPropagator(**wrong)
