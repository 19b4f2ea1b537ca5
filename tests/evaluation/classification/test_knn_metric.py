"""k-NN as an mmengine metric: what it needs, what it leaves out and says."""

import pytest
import torch

from dino_plugin.evaluation.classification import metric as module
from dino_plugin.evaluation.classification.knn import knn_accuracy, leave_one_out_accuracy
from dino_plugin.evaluation.classification.metric import KNNMetric, usable_ks


def predictions(count, seed, **marks):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    features = torch.eye(3)[labels] + torch.randn(count, 3, generator=generator)
    return [dict(features=part, labels=of, **marks) for part, of in zip(features.split(7), labels.split(7))]


def test_the_metric_is_the_function_on_all_batches_together():
    metric = KNNMetric(ks=(5, 10), temperature=0.2)
    bank, queries = predictions(40, 0, in_bank=True), predictions(25, 1)
    for batch in bank + queries:
        metric.process(None, [batch])
    joined = [torch.cat([batch[key] for batch in part]) for part in (bank, queries) for key in ('features', 'labels')]
    expected = knn_accuracy(*joined, ks=(5, 10), temperature=0.2)
    assert metric.evaluate(size=25) == {f'knn/{name}': score for name, score in expected.items()}
    assert metric.results == []


def test_neighbours_that_the_bank_lacks_are_left_out_and_named(monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda message, **_: said.append(message))
    metric = KNNMetric(ks=(10, 20, 100))
    metric.process(None, predictions(30, 0, in_bank=True) + predictions(5, 1))
    assert list(metric.evaluate(size=5)) == ['knn/top1_k10', 'knn/top1_k20']
    assert said == ['k-NN: the bank has 30 samples, only k = 10, 20 of (10, 20, 100) is used.']
    with pytest.raises(ValueError, match=r'None of ks=\(50,\) fits a bank of 30'):
        usable_ks((50,), 30)


def test_without_a_bank_each_image_is_compared_with_all_others():
    metric = KNNMetric(ks=(3, 25))
    queries = predictions(25, 1)
    metric.process(None, queries)
    joined = [torch.cat([batch[key] for batch in queries]) for key in ('features', 'labels')]
    expected = leave_one_out_accuracy(*joined, ks=(3,))
    assert metric.evaluate(size=25) == {f'knn/{name}': score for name, score in expected.items()}
