"""Near-duplicates among many images."""

import pytest
import torch

from dino_plugin.evaluation.retrieval.pairs import closest_pairs, indexed_pairs


def slow_pairs(features, most, threshold):
    """Every pair by its own cosine."""
    found = []
    for first in range(len(features)):
        for second in range(first + 1, len(features)):
            cosine = float(torch.cosine_similarity(features[first].double(), features[second].double(), dim=0))
            if cosine >= threshold:
                found.append((cosine, first, second))
    return sorted(found, reverse=True)[:most]


@pytest.mark.parametrize(('most', 'threshold'), [(10, -1.0), (10_000, -1.0), (10_000, 0.4), (5, 0.4), (3, 1)])
@pytest.mark.parametrize('rows', [7, 64])
def test_pairs_are_those_of_all_comparisons(most, threshold, rows):
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    expected = slow_pairs(features, most, threshold)
    found = closest_pairs(features, most, threshold, rows)
    assert list(zip(found.first.tolist(), found.second.tolist())) == [pair[1:] for pair in expected]
    assert found.similarity.tolist() == pytest.approx([pair[0] for pair in expected], abs=1e-6)


def test_an_image_and_its_copy_are_found_at_threshold_one():
    features = torch.randn(30, 384, generator=torch.Generator().manual_seed(0))
    found = closest_pairs(torch.cat([features, 2.5 * features[4:5]]), threshold=1)
    assert (found.first.tolist(), found.second.tolist()) == ([4], [30])


def test_of_equal_pairs_the_first_images_are_named_for_any_block():
    features = torch.eye(4)[torch.tensor([0, 1, 2, 0, 1, 2, 0])]
    for rows in (1, 3, 100):
        found = closest_pairs(features, 3, rows=rows)
        assert list(zip(found.first.tolist(), found.second.tolist())) == [(0, 3), (0, 6), (1, 4)]


@pytest.mark.parametrize(
    ('features', 'options', 'message'),
    [
        (torch.ones(1, 3), {}, 'at least two images, got 1'),
        (torch.ones(3, 3), dict(most=0), 'most=0'),
        (torch.ones(3, 3), dict(threshold=1.5), 'from -1 to 1, got 1.5'),
        (torch.full((3, 3), torch.nan), {}, 'Features of the images hold NaN'),
    ],
)
def test_questions_without_an_answer_are_refused(features, options, message):
    with pytest.raises(ValueError, match=message):
        closest_pairs(features, **options)


@pytest.mark.parametrize('index', ['exact', 'flat', 'hnsw'])
def test_an_index_finds_the_same_pairs_if_it_looks_at_enough_neighbours(index):
    if index != 'exact':
        pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    features = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    for most, threshold in ((10, -1), (10_000, 0.6)):
        expected = closest_pairs(features, most, threshold)
        found = indexed_pairs(features, most, threshold, index, neighbours=59)
        assert torch.equal(found.first, expected.first) and torch.equal(found.second, expected.second)
        torch.testing.assert_close(found.similarity, expected.similarity)


def test_a_pair_is_found_if_one_looks_at_the_other():
    """Each of five images has the first one as nearest; the first one looks at one of them alone."""
    features = torch.eye(6)[:5] + 0.8 * torch.eye(6)[5]
    features = torch.cat([torch.eye(6)[5:], features])
    found = indexed_pairs(features, index='exact', neighbours=1)
    assert sorted(zip(found.first.tolist(), found.second.tolist())) == [(0, number) for number in range(1, 6)]


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(neighbours=0), 'neighbours=0'), (dict(most=0), 'most=0'), (dict(threshold=-2), 'from -1 to 1')],
)
def test_an_index_is_asked_for_something(options, message):
    with pytest.raises(ValueError, match=message):
        indexed_pairs(torch.eye(3), index='exact', **options)
