"""Rounded similarities: the bound on their error must hold for any vectors, or the nearest would be missed."""

import pytest
import torch
from torch.nn.functional import normalize

from dino_plugin.evaluation.rounded import RoundedSamples, products, resolve

PREFILTERS = ['int8', 'bfloat16']


def problems(seed=0, dim=40):
    """Name -> samples, queries: friendly ones, and those that rounding does not like."""
    generator = torch.Generator().manual_seed(seed)
    samples, queries = torch.randn(300, dim, generator=generator), torch.randn(20, dim, generator=generator)
    peaks = torch.eye(dim)[torch.arange(300) % dim] + 1e-3 * samples
    common = torch.randn(dim, generator=generator)
    grid = torch.randint(-1, 2, (300, dim), generator=generator) * 0.5 + 1e-2
    return {
        'random': (normalize(samples, dim=1), normalize(queries, dim=1)),
        'long': (1e3 * samples, 1e-3 * queries),
        'peaks': (peaks, normalize(queries, dim=1)),
        'alike': (normalize(samples + 30 * common, dim=1), normalize(queries + 30 * common, dim=1)),
        'half-way': (grid, grid[:20].clone()),
        'equal': (samples[:1].expand(300, -1).clone(), queries),
        'zero': (torch.zeros(300, dim), torch.zeros(20, dim)),
    }


def about(rounded, queries):
    small = rounded.queries(queries)
    found = products(small.values, rounded.values)
    assert found.dtype in (torch.int32, torch.bfloat16)
    return found.float() * small.scale[:, None] + small.shift[:, None], small.error


@pytest.mark.parametrize('prefilter', PREFILTERS)
@pytest.mark.parametrize('name', problems())
@pytest.mark.parametrize('dim', [1, 40, 385])
def test_the_error_is_within_its_bound(prefilter, name, dim):
    samples, queries = problems(dim=dim)[name]
    found, error = about(RoundedSamples(samples, prefilter), queries)
    exact = queries.double() @ samples.double().T
    assert ((found.double() - exact).abs() <= error[:, None]).all()


@pytest.mark.parametrize('prefilter', PREFILTERS)
def test_the_bound_is_small_enough_to_be_of_use(prefilter):
    """A sixtieth of the length of the vectors, less where they have much in common."""
    generator = torch.Generator().manual_seed(0)
    samples = normalize(torch.randn(2000, 384, generator=generator), dim=1)
    _, error = about(RoundedSamples(samples, prefilter), samples[:50])
    alike = normalize(samples + 0.2, dim=1)
    _, smaller = about(RoundedSamples(alike, prefilter), alike[:50])
    assert error.max() < 1 / 30 and smaller.max() < 0.6 * error.min()


@pytest.mark.parametrize('prefilter', PREFILTERS)
def test_samples_written_later_are_within_the_bound_even_if_they_are_cut(prefilter):
    first, queries = problems()['random']
    rounded = RoundedSamples(first, prefilter, places=600)
    assert rounded.fits(1.1 * first) and rounded.fits(3 * first) == (prefilter == 'bfloat16')
    rounded.write(300, 3 * first)
    found, error = about(rounded, queries)
    exact = queries @ torch.cat([first, 3 * first]).T
    assert ((found - exact).abs() <= error[:, None]).all()


@pytest.mark.parametrize('prefilter', PREFILTERS)
@pytest.mark.parametrize('name', problems())
@pytest.mark.parametrize('k', [1, 5, 20])
def test_the_nearest_candidates_are_those_of_float32(prefilter, name, k):
    samples, queries = problems()[name]
    seeming, error = about(RoundedSamples(samples, prefilter), queries)
    candidates = torch.stack([torch.randperm(300, generator=torch.Generator().manual_seed(q)) for q in range(20)])
    found, least = resolve(queries, samples, candidates, seeming.gather(1, candidates), k, error)
    exact = (queries @ samples.T).gather(1, candidates)
    kth = exact.topk(k, dim=1).values[:, -1:]
    close = dict(rtol=1e-5, atol=1e-5 * float(exact.abs().max()))
    torch.testing.assert_close(found.topk(k, dim=1).values, exact.topk(k, dim=1).values, **close)
    kept = ~found.isneginf()
    torch.testing.assert_close(found[kept], exact[kept], **close)
    assert kept[exact > kth + close['atol']].all()
    # What is below the limit that is given back is rightly left out, whether or not it is a candidate.
    assert (exact < kth + close['atol'])[seeming.gather(1, candidates) < least[:, None]].all()
    if name == 'random' and k < 20:
        assert kept.float().mean() < 0.5


def test_places_without_a_candidate_are_never_found():
    samples, queries = problems()['random']
    seeming, error = about(RoundedSamples(samples, 'int8'), queries)
    seeming[:, 3:] = -torch.inf
    found, _ = resolve(queries, samples, torch.arange(300).expand(20, -1), seeming, 5, error)
    assert (~found.isneginf()).sum() == 20 * 3
    torch.testing.assert_close(found[:, :3], queries @ samples[:3].T)


def test_equal_samples_are_equally_similar():
    """To the last bit, for one query as for many: ties are counted by it."""
    samples = torch.randn(100, 37).repeat(7, 1)
    queries = torch.randn(5, 37)
    zeros, all_of_them = torch.zeros(5, 700), torch.arange(700).expand(5, -1)
    found, _ = resolve(queries, samples, all_of_them, zeros, 3, torch.ones(5) * 1e4)
    for similarities in (found, products(queries, samples), products(queries[:1], samples)):
        copies = similarities.view(-1, 7, 100)
        assert torch.equal(copies, copies[:, :1].expand_as(copies))


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="must be 'int8', 'bfloat16' or None, got 'int4'"):
        RoundedSamples(torch.randn(3, 4), 'int4')
    with pytest.raises(ValueError, match='is for CPUs'):
        RoundedSamples(torch.randn(3, 4, device='meta'), 'int8')
