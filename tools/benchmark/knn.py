"""k-NN classification of features for four values of k: one pass for all k against one pass for each."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.evaluation.classification.knn import knn_accuracy, knn_predict
from dino_plugin.evaluation.nearest import PART

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07
NUM_CHECKED = 64  # queries, by the plain formula


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Accuracies of both sides, and their times; and those of the matrix products that are in it, its limit."""
    bank, labels = clustered(options, options.bank)
    queries, answers = clustered(options, options.queries)
    ks = [k for k in KS if k <= options.bank]
    ranked = knn_predict(bank, labels, queries, ks, TEMPERATURE)
    _check_plain(report, bank, labels, queries, ranked)
    ours = partial(knn_accuracy, bank, labels, queries, answers, ks, TEMPERATURE)
    candidates = [Candidate('knn', lambda _: ours(), 'ours')]
    for dtype in (torch.float32, torch.bfloat16):
        # Nothing else than the similarities of all pairs: no exact method with products of this precision is faster.
        candidates.append(Candidate(f'products in {dtype}', _products(bank.to(dtype), queries.to(dtype)), 'the limit'))
    if reference:
        theirs = partial(_reference_accuracy, reference, options, (bank, labels, queries, answers), ks)
        candidates.insert(0, Candidate('reference', lambda _: theirs(), 'knn_classifier, once for each k'))
        _check_accuracies(report, ours(), theirs(), ranked)
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


def _products(bank: Tensor, queries: Tensor) -> Callable[[int], None]:
    memory = bank.new_empty(len(queries), min(PART, len(bank)))

    def multiply(_: int) -> None:
        for some in bank.split(PART):
            torch.mm(queries, some.T, out=memory[:, : len(some)])

    return multiply


def _reference_accuracy(
    reference: Reference, options: argparse.Namespace, features: Sequence[Tensor], ks: Sequence[int]
) -> dict[str, float]:
    accuracies = {}
    with reference.running_on(options.device):
        for k in ks:
            tops = reference.eval_knn.knn_classifier(*features, k, TEMPERATURE, options.classes)
            accuracies |= {f'top{top}_k{k}': float(value) for top, value in zip((1, 5), tops)}
    return accuracies


def _check_accuracies(
    report: Report, found: dict[str, float], expected: dict[str, float], ranked: dict[int, Tensor]
) -> None:
    """Identical, but for a top-5 where the neighbours of a query are of fewer classes: there the reference guesses."""
    guesses = {f'top5_k{k}' for k, classes in ranked.items() if bool((classes < 0).any())}
    compared = expected.keys() - guesses
    worst = max(abs(found[key] - expected[key]) for key in compared)
    left_out = f'; left out: {", ".join(sorted(guesses))}' if guesses else ''
    report.check('knn', worst < 1e-6, f'{len(compared)} accuracies within {worst:.2g} % of the reference{left_out}')


def _check_plain(report: Report, bank: Tensor, labels: Tensor, queries: Tensor, ranked: dict[int, Tensor]) -> None:
    """The first queries by the formula: the votes of the k nearest, one query at a time."""
    wrong = 0
    for number, query in enumerate(queries[:NUM_CHECKED]):
        similarities, nearest = (bank @ query).sort(descending=True)
        for k, classes in ranked.items():
            votes = torch.zeros(int(labels.max()) + 1, dtype=torch.double, device=query.device)
            votes.index_add_(0, labels[nearest[:k]], (similarities[:k].double() / TEMPERATURE).exp())
            # Two classes may have the same votes but for rounding.
            wrong += bool(votes[classes[number, 0]] < votes.max() * (1 - 1e-5))
    report.check('knn', wrong == 0, f'{wrong} answers of {NUM_CHECKED} queries differ from the plain formula')
