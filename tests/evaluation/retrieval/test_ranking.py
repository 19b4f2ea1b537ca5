"""Average precision and precision at k, by hand and by the definition."""

import math

import pytest
import torch

from dino_plugin.evaluation.retrieval.ranking import (
    average_precision,
    mean_scores,
    precision_at,
    ranked_relevance,
    score_queries,
)


def flags(word):
    """'x.x' -> relevant, not relevant, relevant, of one query."""
    return torch.tensor([[letter == 'x' for letter in word]])


def slow_positions(similarities, relevant, ignored):
    """1-based positions of the relevant images once the ignored ones are taken out; ties go against them."""
    images = [i for i in range(len(similarities)) if not ignored[i]]
    images.sort(key=lambda i: (-similarities[i], relevant[i]))
    return [place for place, i in enumerate(images, 1) if relevant[i]]


def slow_average_precision(positions, trapezoids):
    total = 0.0
    for found, position in enumerate(positions):
        after = (found + 1) / position
        before = found / (position - 1) if position > 1 else 1.0
        total += (before + after) / 2 if trapezoids else after
    return total / len(positions) if positions else math.nan


def slow_precision_at(positions, k):
    if not positions:
        return math.nan
    end = min(k, max(positions))
    return sum(position <= end for position in positions) / end


def test_average_precision_of_a_ranking_worked_out_by_hand():
    ranked = flags('x.x..x')
    assert average_precision(ranked).item() == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3)
    halves = ((1 + 1) / 2 + (1 / 2 + 2 / 3) / 2 + (2 / 5 + 3 / 6) / 2) / 3
    assert average_precision(ranked, trapezoids=True).item() == pytest.approx(halves)


def test_a_ranking_that_is_cut_off_is_divided_by_all_that_there_was_to_find():
    assert average_precision(flags('x.x'), num_relevant=torch.tensor([4])).item() == pytest.approx((1 + 2 / 3) / 4)


def test_junk_is_taken_out_and_what_follows_moves_up():
    similarities = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]])
    relevant, junk = flags('.x.x.'), flags('x.x..')
    assert ranked_relevance(similarities, relevant, junk).tolist() == flags('xx...').tolist()
    assert average_precision(ranked_relevance(similarities, relevant, junk)).item() == 1
    assert average_precision(ranked_relevance(similarities, relevant, flags('.....'))).item() == pytest.approx(0.5)


def test_an_image_that_is_junk_is_not_relevant():
    ranked = ranked_relevance(torch.tensor([[0.9, 0.8]]), flags('xx'), flags('x.'))
    assert ranked.tolist() == flags('x.').tolist()


def test_precision_at_k_stops_at_the_last_relevant_image():
    values = precision_at(flags('x.x.......'), (1, 2, 5, 100))
    assert values[0].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 2 / 3])
    assert precision_at(flags('..........'), (1, 5)).isnan().all()


def test_equal_similarities_count_against_the_ranking():
    """A network that has collapsed gives all images the same features, and must not look good."""
    similarities = torch.zeros(1, 4)
    assert ranked_relevance(similarities, flags('x...'), flags('....')).tolist() == flags('...x').tolist()


@pytest.mark.parametrize('trapezoids', [False, True])
def test_random_rankings_with_ties_and_junk_score_as_by_the_definition(trapezoids):
    generator = torch.Generator().manual_seed(0)
    similarities = torch.randint(0, 12, (40, 30), generator=generator).float() / 8
    relevant = torch.rand(40, 30, generator=generator) < torch.linspace(0, 0.5, 40)[:, None]
    ignored = torch.rand(40, 30, generator=generator) < 0.2
    ranked = ranked_relevance(similarities, relevant, ignored)
    precisions, shares = average_precision(ranked, trapezoids), precision_at(ranked, (1, 5, 10))
    rows = zip(similarities.tolist(), (relevant & ~ignored).tolist(), ignored.tolist())
    positions = [slow_positions(*row) for row in rows]
    assert any(not found for found in positions)
    expected = torch.tensor([slow_average_precision(found, trapezoids) for found in positions])
    torch.testing.assert_close(precisions, expected, equal_nan=True)
    expected = torch.tensor([[slow_precision_at(found, k) for k in (1, 5, 10)] for found in positions])
    torch.testing.assert_close(shares, expected, equal_nan=True)


def test_any_order_of_the_bank_gives_the_same_scores(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    bank = torch.randint(-2, 3, (60, 4), generator=generator).float()  # whole numbers: no rounding, and many ties
    queries = torch.randint(-2, 3, (10, 4), generator=generator).float()
    relevant = torch.rand(10, 60, generator=generator) < 0.2
    ignored = torch.rand(10, 60, generator=generator) < 0.1
    scores = score_queries(bank, queries, lambda some: (relevant[some], ignored[some]))
    order = torch.randperm(60, generator=generator)
    monkeypatch.setattr('dino_plugin.evaluation.retrieval.ranking.MOST_PAIRS', 150)  # two queries at a time
    mixed = score_queries(bank[order], queries, lambda some: (relevant[some][:, order], ignored[some][:, order]))
    torch.testing.assert_close(mixed, scores, rtol=0, atol=0)


def test_queries_without_a_relevant_image_are_left_out_of_the_mean():
    queries = torch.eye(3)
    relevant = torch.tensor([[True, False, False], [False, False, False], [True, False, False]])
    scores = score_queries(torch.eye(3), queries, lambda some: (relevant[some], torch.zeros(3, 3).bool()[some]), (1,))
    means = mean_scores(scores, (1,), over_ranks=False, relevant='anything')
    assert means == {'mAP': pytest.approx(100 * (1 + 1 / 3) / 2), 'mP@1': 50, 'queries': 2}


def test_nothing_to_find_is_an_error():
    scores = score_queries(torch.eye(3), torch.eye(3), lambda some: (torch.zeros(3, 3).bool(),) * 2)
    with pytest.raises(ValueError, match='No query has a twin in the bank'):
        mean_scores(scores, (1, 5, 10), over_ranks=False, relevant='a twin')


@pytest.mark.parametrize('at', [(), (0,), (5, -1)])
def test_positions_below_one_are_refused(at):
    with pytest.raises(ValueError, match='each at least 1'):
        score_queries(torch.eye(3), torch.eye(3), lambda some: (torch.eye(3).bool(),) * 2, at)


def test_an_empty_bank_is_refused():
    with pytest.raises(ValueError, match='the bank is empty'):
        score_queries(torch.zeros(0, 3), torch.eye(3), lambda some: (torch.zeros(3, 0).bool(),) * 2)
