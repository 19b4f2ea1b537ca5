"""The nearest samples: against a full sort, with as many equal scores as one can have."""

import pytest
import torch

from dino_plugin.evaluation import nearest as module
from dino_plugin.evaluation.nearest import largest, nearest

SIZES = [1, 31, 32, 33, 64, 100, 1000, 1024, 4099]


def agrees_with_sorting(scores, k):
    values, indices = largest(scores, k)
    assert torch.equal(values, scores.sort(dim=1, descending=True).values[:, :k])
    assert torch.equal(scores.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize('number', SIZES)
@pytest.mark.parametrize('k', [1, 2, 5, 31, 100])
@pytest.mark.parametrize('different', [1, 2, 7, 10**6])
def test_the_largest_are_those_of_a_full_sort(number, k, different):
    """With one value everything is equal, with two and seven nearly everything."""
    scores = torch.randint(different, (9, number), generator=torch.Generator().manual_seed(0))
    agrees_with_sorting(scores.float(), min(k, number))
    agrees_with_sorting(scores.int() - different // 2, min(k, number))


@pytest.mark.parametrize('k', [1, 8, 32])
def test_all_the_largest_may_be_in_one_group_or_in_what_is_left_over(k):
    for start in (0, 32, 992, 1024 - k, 1056):
        scores = torch.arange(1088.0).flip(0).repeat(3, 1)[:, :1088]
        scores[:, start : start + k] += 5000
        agrees_with_sorting(scores[:, :1087], min(k, 1087 - start))
    rising = torch.arange(1077.0)[None]
    agrees_with_sorting(rising, k)
    agrees_with_sorting(-rising, k)
    agrees_with_sorting(rising.expand(2, -1)[:, 3:], k)


@pytest.mark.parametrize(('query_chunk', 'bank_chunk'), [(50, 3000), (7, 500), (16, 133), (1, 1500), (50, 2999)])
def test_chunks_give_the_nearest_of_all(query_chunk, bank_chunk, monkeypatch):
    monkeypatch.setattr(module, 'PART', 64)
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(1500, 8, generator=generator), torch.randn(50, 8, generator=generator)
    bank = bank.repeat(2, 1)  # each sample twice
    expected = (queries.double() @ bank.double().T).sort(dim=1, descending=True).values[:, :20]
    parts = list(nearest(bank, queries, 20, query_chunk, bank_chunk))
    similarities, numbers = (torch.cat(each) for each in zip(*parts))
    torch.testing.assert_close(similarities.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((bank[numbers] * queries[:, None]).sum(dim=2), similarities, rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == 20 for row in numbers.tolist())
