"""Class folders as a retrieval set."""

import pytest
import torch
from processes import run_in_processes

from dino_plugin.evaluation.retrieval.by_class import class_retrieval, retrieval_among


@pytest.fixture
def labelled():
    """Features of 60 images of 6 classes, each class around its own direction."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 6
    features = torch.randn(6, 16, generator=generator)[labels] + torch.randn(60, 16, generator=generator)
    return features, labels


def slow_map(bank, bank_labels, queries, query_labels, left_out):
    """By the definition, one query after the other; `left_out` says whether query i is image i of the bank."""
    values = []
    for number, (query, label) in enumerate(zip(queries, query_labels)):
        cosines = torch.cosine_similarity(query[None].double(), bank.double(), dim=1)
        order = [i for i in cosines.argsort(descending=True).tolist() if not (left_out and i == number)]
        hits, total, found = 0, 0.0, [bool(bank_labels[i] == label) for i in order]
        for place, right in enumerate(found, 1):
            hits += right
            total += right * hits / place
        if any(found):
            values.append(total / sum(found))
    return 100 * sum(values) / len(values)


def test_three_images_by_hand():
    """The query of class 0 finds class 1 before its own: AP 1/2 of ranks 2, and 2 of 3 at rank 3."""
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]])
    scores = class_retrieval(bank, torch.tensor([1, 0, 0]), torch.tensor([[1.0, 0.0]]), torch.tensor([0]), at=(1, 2))
    assert scores == {
        'mAP': pytest.approx(100 * (1 / 2 + 2 / 3) / 2), 'mP@1': 0, 'mP@2': pytest.approx(50), 'queries': 1
    }  # fmt: skip


def test_scores_are_those_of_the_definition(labelled):
    features, labels = labelled
    scores = class_retrieval(features[:40], labels[:40], features[40:], labels[40:])
    assert scores['mAP'] == pytest.approx(slow_map(features[:40], labels[:40], features[40:], labels[40:], False))
    assert 20 < scores['mAP'] < 95
    among = retrieval_among(features, labels)
    assert among['mAP'] == pytest.approx(slow_map(features, labels, features, labels, True))
    assert among['queries'] == 60


def test_trapezoids_change_the_number(labelled):
    features, labels = labelled
    assert retrieval_among(features, labels, trapezoids=True)['mAP'] < retrieval_among(features, labels)['mAP']


def test_an_image_does_not_find_itself():
    """The nearest other image is of the other class, so the first answer is always wrong."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.01, 1.0]])
    assert retrieval_among(features, torch.tensor([0, 1, 0, 1]))['mP@1'] == 0


def test_the_order_of_the_images_and_the_numbers_of_the_classes_mean_nothing(labelled):
    features, labels = labelled
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    renamed = torch.tensor([7, 2, 0, 31, 4, 9])[labels]
    assert retrieval_among(features[order], renamed[order]) == pytest.approx(retrieval_among(features, labels))


def test_every_image_twice_is_found_at_once(labelled):
    features, labels = labelled
    twice = retrieval_among(features.repeat(2, 1), labels.repeat(2))
    assert (twice['mP@1'], twice['queries']) == (100, 120)
    assert twice['mAP'] > retrieval_among(features, labels)['mAP']


def test_features_that_are_all_the_same_find_nothing_early():
    labels = torch.arange(20) % 4
    assert retrieval_among(torch.ones(20, 3), labels)['mP@1'] == 0


def test_a_class_of_one_image_is_left_out(labelled):
    features, labels = labelled
    alone = torch.cat([labels, torch.tensor([6])])
    assert retrieval_among(torch.cat([features, torch.randn(1, 16)]), alone)['queries'] == 60


def test_images_without_a_label_are_never_right_answers(labelled):
    features, labels = labelled
    bank, bank_labels = torch.cat([features, features]), torch.cat([labels, torch.full((60,), -1)])
    halved = class_retrieval(bank, bank_labels, features, labels)
    assert halved['mP@1'] == 0  # the unlabelled twin is as near as the image itself, and ties count against
    assert class_retrieval(features, labels, features, labels)['mP@1'] == 100


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        ([0, 0, 0, 0], 'of one class'),
        ([0, 1, 2, 3], 'No query has another image of its class'),
        ([0, 0, 1, -1], '1 of 4 queries have no label'),
        ([], '0 of 0 queries'),
        ([0], 'of one class'),
    ],
)
def test_labels_that_allow_no_answer_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        retrieval_among(torch.randn(len(labels), 3), torch.tensor(labels, dtype=torch.long))


def test_nan_is_refused():
    features = torch.randn(4, 3)
    features[2, 1] = torch.nan
    with pytest.raises(ValueError, match='hold NaN'):
        retrieval_among(features, torch.tensor([0, 0, 1, 1]))


def test_more_images_asked_for_than_there_are_is_the_whole_ranking(labelled):
    features, labels = labelled
    scores = retrieval_among(features, labels, at=(59, 1000))
    assert scores['mP@59'] == scores['mP@1000']


def check_processes(rank, features, labels, expected):
    mine = slice(0, 23) if rank == 0 else slice(23, 60)
    assert retrieval_among(features[mine], labels[mine], over_ranks=True) == pytest.approx(expected[0])
    bank = slice(0, 11) if rank == 0 else slice(11, 40)
    queries = slice(40, 40) if rank == 0 else slice(40, 60)
    scores = class_retrieval(features[bank], labels[bank], features[queries], labels[queries], over_ranks=True)
    assert scores == pytest.approx(expected[1])


def test_two_processes_with_any_shares_find_what_one_finds(labelled):
    features, labels = labelled
    expected = (
        retrieval_among(features, labels),
        class_retrieval(features[:40], labels[:40], features[40:], labels[40:]),
    )
    run_in_processes(check_processes, features, labels, expected)


# --- cut off at a depth -----------------------------------------------------------------------------------------------


def slow_map_at_depth(features, labels, depth):
    """By the definition, each image among the others."""
    values = []
    for number, label in enumerate(labels):
        cosines = torch.cosine_similarity(features[number][None].double(), features.double(), dim=1)
        order = [i for i in cosines.argsort(descending=True).tolist() if i != number][:depth]
        hits, total = 0, 0.0
        for place, i in enumerate(order, 1):
            hits += bool(labels[i] == label)
            total += bool(labels[i] == label) * hits / place
        values.append(total / min(depth, int((labels == label).sum()) - 1))
    return 100 * sum(values) / len(values)


@pytest.mark.parametrize('depth', [1, 5, 12])
def test_a_ranking_that_is_cut_off_scores_as_by_the_definition(depth, labelled):
    features, labels = labelled
    found = retrieval_among(features, labels, (1,), depth=depth)
    assert found['mAP'] == pytest.approx(slow_map_at_depth(features, labels, depth))


def test_a_depth_does_not_change_the_precision_before_it(labelled):
    features, labels = labelled
    whole, cut = retrieval_among(features, labels), retrieval_among(features, labels, depth=10)
    assert [cut[f'mP@{k}'] for k in (1, 5, 10)] == pytest.approx([whole[f'mP@{k}'] for k in (1, 5, 10)])
    assert cut['mAP'] != pytest.approx(whole['mAP'])


@pytest.mark.parametrize('index', ['exact', 'flat'])
def test_a_depth_of_all_images_is_the_whole_ranking(index, labelled):
    if index == 'flat':
        pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    features, labels = labelled
    options = dict(depth=1000, index=index)
    assert retrieval_among(features, labels, **options) == pytest.approx(retrieval_among(features, labels))
    parts = features[:40], labels[:40] - (labels[:40] == 5).long() * 6, features[40:], labels[40:]  # a class is missing
    whole = class_retrieval(*parts, trapezoids=True)
    assert class_retrieval(*parts, trapezoids=True, **options) == pytest.approx(whole)
    assert whole['queries'] < 20


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(index='flat'), 'needs a depth'), (dict(depth=9), 'less than 10'), (dict(depth=20, index='tree'), 'one of')],
)
def test_depths_and_indices_that_do_not_fit_are_refused(options, message, labelled):
    with pytest.raises(ValueError, match=message):
        retrieval_among(*labelled, **options)
