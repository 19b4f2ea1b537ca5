"""An index by faiss finds what the exact search finds."""

import sys

import pytest
import torch

from dino_plugin.evaluation.nearest import nearest_by_cosine
from dino_plugin.evaluation.retrieval.index import indexed_nearest


@pytest.fixture(scope='module')
def features():
    """A bank of 2,000 samples in 50 clusters, and 100 queries from them; not of length 1."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(50, 16, generator=generator)
    labels = torch.randint(0, 50, (2100,), generator=generator)
    samples = 3 * centres[labels] + torch.randn(2100, 16, generator=generator)
    return samples[:2000], samples[2000:]


def test_the_exact_index_is_the_exact_search(features):
    for found, expected in zip(indexed_nearest(*features, 10), nearest_by_cosine(*features, 10)):
        assert torch.equal(found, expected)


def test_the_flat_index_equals_the_exact_search(features):
    pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    similarities, numbers = indexed_nearest(*features, 10, 'flat')
    expected = nearest_by_cosine(*features, 10)
    torch.testing.assert_close(similarities, expected[0])
    assert torch.equal(numbers, expected[1])


@pytest.mark.parametrize('kind', ['ivf', 'hnsw'])
def test_an_approximate_index_finds_more_with_more_effort_and_all_with_enough(kind):
    pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(2000, 48, generator=generator), torch.randn(100, 48, generator=generator)
    expected = nearest_by_cosine(bank, queries, 3)[1]

    def share_found(effort):
        numbers = indexed_nearest(bank, queries, 3, kind, effort)[1]
        return (numbers[:, :, None] == expected[:, None]).any(dim=1).float().mean().item()

    assert share_found(1) < share_found(40) < share_found(2000)
    assert share_found(2000) > 0.99


def test_places_that_an_index_cannot_fill_are_marked(features):
    pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    similarities, numbers = indexed_nearest(*features, 300, 'ivf', 1)
    assert (numbers == -1).any()
    assert ((similarities == -torch.inf) == (numbers == -1)).all()
    assert (numbers[:, 0] >= 0).all()


@pytest.mark.parametrize(
    ('k', 'options', 'message'),
    [
        (3, dict(index='tree'), 'index must be one of exact, flat, ivf, hnsw'),
        (3, dict(index='ivf', effort=0), 'at least 1, got 0'),
        (2001, dict(index='flat'), '2001 nearest of 2000'),
        (2001, dict(index='exact'), '2001 nearest of 2000'),
    ],
)
def test_questions_that_an_index_cannot_answer_are_refused(k, options, message, features):
    with pytest.raises(ValueError, match=message):
        indexed_nearest(*features, k, **options)


def test_without_faiss_the_message_says_what_to_install(features, monkeypatch):
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(ImportError, match=r"pip install 'dino_plugin\[index\]'"):
        indexed_nearest(*features, 3, 'flat')
    assert indexed_nearest(*features, 3)[1].shape == (100, 3)


@pytest.mark.parametrize('kind', ['exact', 'flat'])
def test_nan_is_refused(kind, features):
    if kind == 'flat':
        pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    with pytest.raises(ValueError, match='Features of the bank hold NaN'):
        indexed_nearest(torch.full((5, 3), torch.nan), torch.ones(1, 3), 2, kind)
