"""Weighted k-NN: hand-computed votes, a slow loop as reference, and what must not matter."""

import math

import pytest
import torch
from processes import run_in_processes

from dino_plugin.evaluation.classification.knn import (
    _ranked,
    _without_own,
    class_votes,
    knn_accuracy,
    knn_predict,
    leave_one_out_accuracy,
)
from dino_plugin.evaluation.classification.metric import KNNMetric
from dino_plugin.evaluation.nearest import nearest


def random_problem(bank=400, queries=60, classes=7, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=generator)

    def samples(count):
        labels = torch.randint(classes, (count,), generator=generator)
        return centres[labels] + 1.5 * torch.randn(count, dim, generator=generator), labels

    return (*samples(bank), *samples(queries))


def loop_votes(bank, labels, query, k, temperature):
    """One symbol of the equation at a time."""
    nearest = []
    for features, label in zip(bank.double(), labels.tolist(), strict=True):
        dot = float((features * query.double()).sum())
        nearest.append((dot / float(features.norm() * query.double().norm()), -label))
    nearest = sorted(nearest, reverse=True)[:k]
    votes = {}
    for similarity, label in nearest:
        votes[-label] = votes.get(-label, 0.0) + math.exp(similarity / temperature)
    return votes


@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_votes_and_ranks_equal_the_equation_written_as_loops(temperature):
    bank, labels, queries, _ = random_problem(bank=120, queries=10)
    ks = (1, 10, 20, 100)
    ranked = knn_predict(bank, labels, queries, ks, temperature)
    unit = torch.nn.functional.normalize
    ((similarities, neighbours),) = nearest(unit(bank, dim=1), unit(queries, dim=1), 100, 10, 64)
    for k, votes in class_votes(similarities, labels[neighbours], ks, 7, temperature):
        for index, query in enumerate(queries):
            expected = loop_votes(bank, labels, query, k, temperature)
            order = sorted(expected, key=lambda c: -expected[c])
            assert ranked[k][index].tolist() == (order + [-1] * 5)[:5]
            exact = torch.tensor([expected.get(c, 0.0) for c in range(7)])
            assert torch.allclose(votes[index] / votes[index].sum(), exact / exact.sum(), atol=1e-5)


def test_votes_by_hand():
    bank = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 2])
    query = torch.tensor([[2.0, 0.0]])
    # Cosines 1, 0.6, 0, -1; at temperature 1 class 0 gets e, class 1 gets e^0.6 + e^0 = 2.822 > e with k = 3.
    ranked = knn_predict(bank, labels, query, ks=(1, 2, 3, 4), temperature=1.0)
    assert ranked[1].tolist() == [[0, -1, -1]]
    assert ranked[2].tolist() == [[0, 1, -1]]
    assert ranked[3].tolist() == [[1, 0, -1]]
    assert ranked[4].tolist() == [[1, 0, 2]]
    assert knn_predict(bank, labels, query, ks=(3,), temperature=0.07)[3].tolist() == [[0, 1, -1]]


def test_one_pass_for_all_k_equals_one_pass_for_each():
    bank, labels, queries, _ = random_problem()
    together = knn_predict(bank, labels, queries, (200, 10, 20))
    for k in (10, 20, 200):
        assert torch.equal(together[k], knn_predict(bank, labels, queries, (k,))[k])


@pytest.mark.parametrize('chunks', [(60, 1), (7, 13), (60, 10), (1000, 399), (16, 21)])
def test_chunk_sizes_do_not_matter(chunks):
    bank, labels, queries, _ = random_problem()
    whole = knn_predict(bank, labels, queries, (5, 20))
    parts = knn_predict(bank, labels, queries, (5, 20), query_chunk=chunks[0], bank_chunk=chunks[1])
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_a_bank_that_holds_every_sample_several_times_votes_as_often():
    bank, labels, queries, _ = random_problem()
    expected = knn_predict(bank, labels, queries, (10, 20))
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    found = knn_predict(bank.repeat(3, 1)[order], labels.repeat(3)[order], queries, (30, 60), bank_chunk=777)
    for k in (10, 20):
        assert torch.equal(found[3 * k], expected[k])


def test_a_bank_of_one_class_and_all_its_samples_as_neighbours():
    bank, labels, queries, _ = random_problem(classes=1)
    found = knn_predict(bank, labels, queries, (1, 399, 400))
    assert all(torch.equal(classes, torch.zeros(60, 1, dtype=torch.long)) for classes in found.values())


@pytest.mark.parametrize('classes', [3, 5, 6, 1000])
def test_classes_with_equal_votes_come_in_the_order_of_their_labels(classes):
    votes = torch.randint(4, (50, classes), generator=torch.Generator().manual_seed(0)) / 3
    votes[0], votes[1], votes[2, 1:] = 0, 1e-42, 0
    expected, order = votes.sort(dim=1, descending=True, stable=True)
    assert torch.equal(_ranked(votes), order.masked_fill(expected == 0, -1)[:, :5])


def test_permuting_the_bank_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(300, 8, generator=generator), torch.randn(20, 8, generator=generator)
    labels = torch.randint(9, (300,), generator=generator)
    expected = knn_predict(bank, labels, queries, (1, 5, 20, 100))
    for seed in range(5):
        order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
        found = knn_predict(bank[order], labels[order], queries, (1, 5, 20, 100), bank_chunk=37)
        assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_the_length_of_features_changes_nothing():
    bank, labels, queries, _ = random_problem()
    scaled = knn_predict(bank * torch.rand(400, 1).add(0.1), labels, queries * 7, (10,))
    assert torch.equal(scaled[10], knn_predict(bank, labels, queries, (10,))[10])


def test_half_precision_features_and_autocast_are_computed_in_float32():
    bank, labels, queries, _ = random_problem()
    bank, queries = bank.bfloat16(), queries.bfloat16()
    expected = knn_predict(bank.float(), labels, queries.float(), (20,))[20]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(knn_predict(bank, labels, queries, (20,))[20], expected)


def test_one_cluster_for_each_class_gives_100_percent_and_shuffled_labels_chance():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(50)
    features = torch.eye(10)[labels] + 0.05 * torch.randn(500, 10, generator=generator)
    found = knn_accuracy(features[:400], labels[:400], features[400:], labels[400:], (10, 20))
    assert found == {'top1_k10': 100.0, 'top5_k10': 100.0, 'top1_k20': 100.0, 'top5_k20': 100.0}
    shuffled = labels[torch.randperm(500, generator=generator)]
    chance = knn_accuracy(features[:400], shuffled[:400], features[400:], shuffled[400:], (20,))
    assert chance['top1_k20'] < 25 and chance['top5_k20'] < 75


def test_a_very_small_temperature_is_the_nearest_neighbour_and_does_not_overflow():
    bank, labels, queries, _ = random_problem()
    nearest = knn_predict(bank, labels, queries, (1,))[1][:, 0]
    assert torch.equal(knn_predict(bank, labels, queries, (100,), temperature=1e-4)[100][:, 0], nearest)


def test_a_query_of_a_class_that_the_bank_lacks_counts_as_wrong():
    features = torch.eye(3)
    found = knn_accuracy(features, torch.tensor([0, 1, 2]), features, torch.tensor([0, 1, 9]), (1,))
    assert found == {'top1_k1': pytest.approx(200 / 3)}


def test_leave_one_out_is_a_bank_without_the_sample_for_each_sample():
    features, labels, _, _ = random_problem(bank=90)
    found = leave_one_out_accuracy(features, labels, (1, 7, 89))
    hits = dict.fromkeys(found, 0.0)
    for index in range(90):
        rest = torch.arange(90) != index
        alone = knn_accuracy(
            features[rest], labels[rest], features[index : index + 1], labels[index : index + 1], (1, 7, 89)
        )
        hits = {name: hits[name] + alone[name] / 90 for name in hits}
    assert found == pytest.approx(hits)


def test_leave_one_out_with_more_equal_images_than_neighbours_still_counts_k():
    features = torch.ones(40, 3)  # each sample is as near as itself
    ranked = knn_predict(features, torch.zeros(40, dtype=torch.long), features, (5,), own=torch.arange(40))
    assert (ranked[5] == 0).all()
    ((similarities, numbers),) = nearest(features, features, 6, 40, 40)
    without, others = _without_own(similarities, numbers, torch.arange(40))
    assert without.shape == others.shape == (40, 5)
    assert not (others == torch.arange(40)[:, None]).any()


def _leave_one_out_in_two_processes(rank: int) -> None:
    features, labels, _, _ = random_problem(bank=90)
    parts = (slice(0, 50), slice(50, 90))[rank]
    found = leave_one_out_accuracy(features[parts], labels[parts], (7,), over_ranks=True)
    assert found == leave_one_out_accuracy(features, labels, (7,))


def test_leave_one_out_in_two_processes_equals_one():
    run_in_processes(_leave_one_out_in_two_processes)


def test_top5_is_left_out_where_it_says_nothing():
    bank, labels, queries, query_labels = random_problem(classes=5)
    assert list(knn_accuracy(bank, labels, queries, query_labels, (10,))) == ['top1_k10']


def test_mistakes_are_refused_with_the_numbers():
    bank, labels, queries, query_labels = random_problem(bank=15)
    with pytest.raises(ValueError, match=r'ks=\(10, 20\) do not fit 15 samples that vote'):
        knn_predict(bank, labels, queries, (10, 20))
    with pytest.raises(ValueError, match='do not fit 14 samples that vote'):
        leave_one_out_accuracy(bank, labels, (15,))
    with pytest.raises(ValueError, match=r'ks=\(0,\)'):
        knn_predict(bank, labels, queries, (0,))
    with pytest.raises(ValueError, match='temperature must be above 0'):
        knn_predict(bank, labels, queries, (1,), temperature=0.0)
    with pytest.raises(ValueError, match='got -1'):
        knn_predict(bank, torch.full_like(labels, -1), queries, (1,))
    with pytest.raises(ValueError, match='queries hold NaN'):
        knn_predict(bank, labels, queries * math.nan, (1,))
    with pytest.raises(ValueError, match='bank hold NaN'):
        knn_predict(torch.cat([bank[1:], torch.full((1, 6), math.inf)]), labels, queries, (1,))
    with pytest.raises(ValueError, match='no queries'):
        knn_accuracy(bank, labels, queries[:0], query_labels[:0], (1,))


def _evaluate_a_part(rank, problem, expected):
    bank, labels, queries, query_labels = problem
    banks, parts = (slice(0, 333), slice(333, None)), (slice(0, 11), slice(11, None))
    mine = bank[banks[rank]], labels[banks[rank]], queries[parts[rank]], query_labels[parts[rank]]
    assert knn_accuracy(*mine, (5, 20), over_ranks=True) == expected
    # Without over_ranks a process is on its own.
    assert knn_accuracy(*problem, (5, 20)) == expected
    metric = KNNMetric(ks=(5, 20, 401))
    metric.process(None, [dict(features=mine[0], labels=mine[1], in_bank=True), dict(features=mine[2], labels=mine[3])])
    assert metric.evaluate(size=60) == {f'knn/{name}': score for name, score in expected.items()}
    # A process without any query still takes part.
    none = slice(0, 0) if rank else slice(None)
    assert knn_accuracy(mine[0], mine[1], queries[none], query_labels[none], (5, 20), over_ranks=True) == expected


def test_two_processes_with_unequal_parts_equal_one():
    problem = random_problem()
    run_in_processes(_evaluate_a_part, problem, knn_accuracy(*problem, (5, 20)))
