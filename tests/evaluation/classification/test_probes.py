"""Linear, logistic and few-shot classifiers of features: slow references, truths by hand, and the commands."""

import math

import pytest
import torch
from torch import nn

from dino_plugin.evaluation.classification.few_shot import few_shot
from dino_plugin.evaluation.classification.knn import knn_accuracy
from dino_plugin.evaluation.classification.labelled_features import accuracies, draw_shots, held_out
from dino_plugin.evaluation.classification.linear import LinearHeads, linear_probe
from dino_plugin.evaluation.classification.logistic import fitted_logits, logistic_probe


def clusters(count: int, num_classes: int = 3, dim: int = 8, noise: float = 1.0, seed: int = 0):
    """Features around one centre for each class, and labels."""
    random = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % num_classes
    return centres[labels] + noise * torch.randn(count, dim, generator=random), labels


@pytest.mark.parametrize('share', [0.1, 0.5])
def test_the_held_out_part_is_a_share_of_each_class_and_at_least_one_image(share):
    labels = torch.tensor([0] * 20 + [1] * 3 + [2] + [3] * 100)
    apart = held_out(labels, share)
    counts = [int(apart[labels == label].sum()) for label in range(4)]
    assert counts == ([2, 1, 0, 10] if share == 0.1 else [10, 1, 0, 50])
    assert torch.equal(apart, held_out(labels, share)) and not torch.equal(apart, held_out(labels, share, seed=1))


def test_nothing_can_be_held_out_of_single_images():
    with pytest.raises(ValueError, match='is the only one of its class'):
        held_out(torch.arange(5))
    with pytest.raises(ValueError, match=r'share=1 must be between 0 and 1'):
        held_out(torch.zeros(5, dtype=torch.long), 1)


def test_shots_are_as_many_different_images_of_each_class():
    labels = torch.tensor([2, 0, 2, 0, 2, 0, 5, 5])
    drawn = draw_shots(labels, 2, seed=3)
    assert sorted(labels[drawn].tolist()) == [0, 0, 2, 2, 5, 5] and len(set(drawn.tolist())) == 6
    assert len({tuple(sorted(draw_shots(labels, 1, seed).tolist())) for seed in range(30)}) > 5
    with pytest.raises(ValueError, match='Class 5 has 2 labelled images; 3 of each class'):
        draw_shots(labels, 3, 0)


def test_heads_that_learn_together_equal_sgd_of_each_alone():
    features, labels = clusters(22)
    rates = (0.01, 0.5)
    heads = LinearHeads(8, 3, rates, seed=4)
    heads.train(features, labels, epochs=3, batch_size=5)

    random = torch.Generator().manual_seed(4)
    start = 0.01 * torch.randn(8, 3, generator=random)
    orders = [torch.randperm(22, generator=random) for _ in range(3)]
    for number, rate in enumerate(rates):
        layer = nn.Linear(8, 3)
        with torch.no_grad():
            layer.weight.copy_(start.T)
            layer.bias.zero_()
        optimiser = torch.optim.SGD(layer.parameters(), lr=1, momentum=0.9)
        for step in range(12):  # four whole batches of five in each epoch
            batch = orders[step // 4][step % 4 * 5 :][:5]
            optimiser.param_groups[0]['lr'] = rate * 5 / 256 * (1 + math.cos(math.pi * step / 12)) / 2
            optimiser.zero_grad()
            nn.functional.cross_entropy(layer(features[batch]), labels[batch]).backward()
            optimiser.step()
        torch.testing.assert_close(heads.weight[number], layer.weight.T.detach())
        torch.testing.assert_close(heads.bias[number, 0], layer.bias.detach())


def test_the_learning_rate_is_chosen_on_the_held_out_part_and_not_on_the_test_set():
    train, labels = clusters(300, noise=0.5)
    test, test_labels = clusters(60, noise=0.5, seed=1)
    found = linear_probe(train, labels, test, test_labels, learning_rates=(1e-9, 1.0), epochs=5)
    assert found.setting == 1.0 and found.top1 == 100 and found.top5 is None
    assert found.held_out_top1[1.0] == 100 > found.held_out_top1[1e-9]
    wrong = (test_labels + 1) % 3  # the test set contradicts: the choice stays
    assert linear_probe(train, labels, test, wrong, learning_rates=(1e-9, 1.0), epochs=5)[2:] == found[2:]


def test_scale_and_mean_of_features_do_not_matter():
    train, labels = clusters(200, noise=2.0)
    test, test_labels = clusters(60, noise=2.0, seed=1)
    found = linear_probe(train, labels, test, test_labels)
    scaled = linear_probe(1e-3 * train + 5, labels, 1e-3 * test + 5, test_labels)
    assert scaled.setting == found.setting and scaled.top1 == pytest.approx(found.top1, abs=2)
    constant = torch.cat([train, torch.ones(200, 1)], dim=1), torch.cat([test, torch.ones(60, 1)], dim=1)
    assert linear_probe(constant[0], labels, constant[1], test_labels).top1 == pytest.approx(found.top1, abs=2)


def test_the_order_of_test_images_does_not_matter():
    train, labels = clusters(90, noise=2.5)
    test, test_labels = clusters(60, noise=2.5, seed=1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for probe in (linear_probe, logistic_probe):
        assert probe(train, labels, test, test_labels) == probe(train, labels, test[order], test_labels[order])


@pytest.mark.parametrize('num_classes', [2, 3])
def test_the_regression_is_the_minimum_of_its_equation(num_classes):
    """There the gradient of the weights is W + C * sum of (softmax - one hot) f = 0, and that of the biases 0."""
    features, labels = clusters(60, num_classes, noise=3.0)
    strength, unit = 2.0, nn.functional.normalize(clusters(60, num_classes, noise=3.0)[0].double(), dim=1)
    logits = fitted_logits(features, labels, torch.cat([unit, torch.eye(8), torch.zeros(1, 8)]).float(), strength)
    logits = logits.double()
    errors = logits[:60].softmax(dim=1) - nn.functional.one_hot(labels, num_classes)
    assert errors.sum(dim=0).abs().max() < 1e-3
    if num_classes == 3:  # the queries are normalised, so unit vectors give W + b, and the zero vector gives b
        weight = logits[60:68] - logits[68]
        gradient = weight + strength * unit.T @ errors
        assert gradient.abs().max() < 1e-2 * weight.abs().max()


def test_classes_without_a_training_image_are_never_predicted():
    features, labels = clusters(30)
    logits = fitted_logits(features[labels != 1], labels[labels != 1], features)
    assert logits.shape == (30, 3) and (logits[:, 1] == -torch.inf).all()
    with pytest.raises(ValueError, match='All 10 training images are of class 2'):
        fitted_logits(features[labels == 2], labels[labels == 2], features)


def test_c_is_chosen_on_the_held_out_part():
    train, labels = clusters(120, noise=3.0)
    test, test_labels = clusters(60, noise=3.0, seed=1)
    found = logistic_probe(train, labels, test, test_labels, strengths=(1e-3, 1.0, 1e3))
    apart = held_out(labels)
    for strength, score in found.held_out_top1.items():
        logits = fitted_logits(train[~apart], labels[~apart], train[apart], strength)
        assert score == accuracies(logits, labels[apart])[0]
    assert found.held_out_top1[found.setting] == max(found.held_out_top1.values()) > min(found.held_out_top1.values())
    whole = fitted_logits(train, labels, test, found.setting)
    assert found.top1 == accuracies(whole, test_labels)[0]
    assert logistic_probe(train, labels, test, (test_labels + 1) % 3, strengths=(1e-3, 1.0, 1e3))[2:] == found[2:]


def test_accuracies_by_hand():
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3], [0, 1, 2, 3, 4, 5, 6]])
    assert accuracies(logits, torch.tensor([0, 1])) == (50.0, 50.0)
    assert accuracies(logits, torch.tensor([4, 2])) == (0.0, 100.0)
    assert accuracies(logits[:, :3], torch.tensor([0, 2])) == (100.0, None)


def test_few_shot_is_the_mean_over_draws_with_its_standard_error():
    train, labels = clusters(60, noise=4.0)
    test, test_labels = clusters(90, noise=4.0, seed=1)
    scores = []
    for seed in (7, 8, 9):
        drawn = draw_shots(labels, 2, seed)
        scores.append(knn_accuracy(train[drawn], labels[drawn], test, test_labels, (2,))['top1_k2'])
    found = few_shot(train, labels, test, test_labels, 2, draws=3, classifier='knn', seed=7)
    mean = sum(scores) / 3
    assert found.mean == pytest.approx(mean, abs=1e-3)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / 2)
    assert found.error == pytest.approx(deviation / math.sqrt(3), abs=1e-3) and found.error > 0
    assert few_shot(train, labels, test, test_labels, 2, draws=1).error == 0


def test_the_mean_of_unit_features_by_hand():
    train = torch.tensor([[1.0, 0], [0, 4], [-2, 0], [0, -2]])
    labels = torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[0.1, 3], [-3, 0.1], [-0.4, 0.5]])
    found = few_shot(train, labels, test, torch.tensor([0, 1, 0]), 2, draws=1, classifier='mean')
    assert found == (100.0, 0.0)


def test_more_shots_do_not_hurt_clean_clusters():
    train, labels = clusters(90, noise=2.0)
    test, test_labels = clusters(300, noise=2.0, seed=1)
    for classifier in ('logistic', 'mean', 'knn'):
        one, ten = (few_shot(train, labels, test, test_labels, shots, 5, classifier).mean for shots in (1, 10))
        assert ten > one + 1


@pytest.mark.parametrize('probe', [linear_probe, logistic_probe, lambda *parts: few_shot(*parts, 1)])
def test_features_that_cannot_be_used_are_refused_before_training(probe):
    train, labels = clusters(30)
    test, test_labels = clusters(6, seed=1)
    broken = test.clone()
    broken[2, 3] = torch.nan
    with pytest.raises(ValueError, match='Features of 1 of 6 test images are not finite'):
        probe(train, labels, broken, test_labels)
    with pytest.raises(ValueError, match='There are no test images'):
        probe(train, labels, test[:0], test_labels[:0])


def test_numbers_and_names_of_few_shot_are_checked():
    train, labels = clusters(30)
    for options, message in (
        (dict(classifier='svm'), r"classifier='svm' must be one of \['logistic', 'mean', 'knn'\]"),
        (dict(draws=0), 'draws=0 must be at least 1'),
    ):
        with pytest.raises(ValueError, match=message):
            few_shot(train, labels, train, labels, 1, **options)
