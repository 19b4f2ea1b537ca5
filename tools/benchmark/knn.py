"""k-NN classification of features for four values of k: one pass for all k against one pass for each."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.evaluation.classification.knn import knn_accuracy, knn_predict
from dino_plugin.evaluation.classification.nearest import PART

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07
NUM_CHECKED = 64  # queries, by the plain formula


class Task(NamedTuple):
    """Labelled samples, samples to classify with what they are, and numbers of neighbours."""

    bank: Tensor
    labels: Tensor
    queries: Tensor
    answers: Tensor
    ks: list[int]


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Accuracies of both sides, and their times; and those of the matrix products that are in it, its limit."""
    ks = [k for k in KS if k <= options.bank]
    task = Task(*clustered(options, options.bank), *clustered(options, options.queries), ks)
    _check_plain(report, task)
    candidates = [Candidate('knn', lambda _: knn_accuracy(*task, TEMPERATURE), 'ours'), *_products(task)]
    if reference:
        classify = _reference_classifier(reference, options, task)
        candidates.insert(0, Candidate('reference', lambda _: classify(), 'knn_classifier, once for each k'))
        _check_accuracies(report, task, classify())
    title = f'{options.queries} queries, {options.bank} samples of {options.dim} features, k = {ks}'
    report.compare('knn', title, 'run', candidates)


def clustered(options: argparse.Namespace, number: int) -> tuple[Tensor, Tensor]:
    """Normalised features around one centre for each class, so wide apart that some neighbours are wrong."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(options.classes, options.dim, generator=generator)
    generator.manual_seed(number)
    labels = torch.randint(options.classes, (number,), generator=generator)
    features = centres[labels] + 2.5 * torch.randn(number, options.dim, generator=generator)
    return normalize(features, dim=1).to(options.device), labels.to(options.device)


def _products(task: Task) -> list[Candidate]:
    """The similarities of all pairs and nothing else: no exact method with products of that precision is faster."""

    def multiply(bank: Tensor, queries: Tensor, memory: Tensor) -> None:
        for some in bank.split(PART):
            torch.mm(queries, some.T, out=memory[:, : len(some)])

    candidates = []
    for precision in ('float32', 'bfloat16'):
        bank, queries = (features.to(getattr(torch, precision)) for features in (task.bank, task.queries))
        sides = bank, queries, bank.new_empty(len(queries), min(PART, len(bank)))
        candidates.append(Candidate(f'products_{precision}', lambda _, sides=sides: multiply(*sides), 'the limit'))
    return candidates


def _reference_classifier(reference: Reference, options: argparse.Namespace, task: Task) -> Callable[[], dict]:
    def classify() -> dict[str, float]:
        accuracies = {}
        with reference.running_on(options.device):
            for k in task.ks:
                tops = reference.eval_knn.knn_classifier(*task[:4], k, TEMPERATURE, options.classes)
                accuracies |= {f'top{top}_k{k}': float(value) for top, value in zip((1, 5), tops)}
        return accuracies

    return classify


def _check_accuracies(report: Report, task: Task, expected: dict[str, float]) -> None:
    """Identical, but for a top-5 where the neighbours of a query are of fewer classes: there the reference guesses."""
    found, ranked = knn_accuracy(*task, TEMPERATURE), knn_predict(*task[:3], task.ks, TEMPERATURE)
    guesses = {f'top5_k{k}' for k, classes in ranked.items() if bool((classes < 0).any())}
    compared = expected.keys() - guesses
    worst = max(abs(found[key] - expected[key]) for key in compared)
    left_out = f'; left out: {", ".join(sorted(guesses))}' if guesses else ''
    report.check('knn', worst < 1e-6, f'{len(compared)} accuracies within {worst:.2g} % of the reference{left_out}')


def _check_plain(report: Report, task: Task) -> None:
    """The first queries by the formula: the votes of the k nearest, one query at a time."""
    queries = task.queries[:NUM_CHECKED]
    found = knn_predict(task.bank, task.labels, queries, task.ks, TEMPERATURE)
    wrong = 0
    for number, query in enumerate(queries):
        similarities, nearest = (task.bank @ query).sort(descending=True)
        for k in task.ks:
            votes = torch.zeros(int(task.labels.max()) + 1, dtype=torch.double, device=query.device)
            votes.index_add_(0, task.labels[nearest[:k]], (similarities[:k].double() / TEMPERATURE).exp())
            # Two classes may have the same votes but for rounding.
            wrong += bool(votes[found[k][number, 0]] < votes.max() * (1 - 1e-5))
    report.check('knn', wrong == 0, f'{wrong} of {len(queries) * len(task.ks)} answers differ from the plain formula')
