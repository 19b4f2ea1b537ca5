"""k-NN classification of features for four values of k: one pass for all k against one pass for each."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.benchmark.devices import add_device_argument, with_prefilters
from dino_plugin.benchmark.harness import Candidate
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.evaluation.knn import knn_accuracy, knn_predict

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07
NUM_CHECKED = 64  # queries, by the plain formula


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the bank."""
    add_device_argument(parser)
    for name, default, what in (
        ('bank', 100_000, 'labelled samples'),
        ('queries', 2_000, 'samples to classify; the reference needs 100 or more'),
        ('dim', 384, 'features of a sample'),
        ('classes', 1_000, 'classes'),
    ):
        parser.add_argument(f'--{name}', type=int, default=default, help=f'{what} (default: {default})')


class Task(NamedTuple):
    """Labelled samples, samples to classify with what they are, and numbers of neighbours."""

    bank: Tensor
    labels: Tensor
    queries: Tensor
    answers: Tensor
    ks: list[int]


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Accuracies of both sides, and their times."""
    task = Task(*clustered(options, options.bank), *clustered(options, options.queries), ks_of(options))
    ours = with_prefilters('knn', knn_accuracy, options.device)
    ways = {name: lambda more=arguments: knn_accuracy(*task, TEMPERATURE, **more) for name, arguments in ours.items()}
    notes = {name: f'ours{", prefilter " * bool(more)}{more.get("prefilter", "")}' for name, more in ours.items()}
    for name, arguments in ours.items():
        _check_plain(report, name, arguments, task)
    if reference:
        ways = {'reference': _reference_classifier(reference, options, task)} | ways
        notes['reference'] = 'knn_classifier, once for each k'
    results: dict[str, dict[str, float]] = {}

    def candidate(name: str, classify: Callable[[], dict]) -> Candidate:
        return Candidate(name, lambda _: results.__setitem__(name, classify()), notes[name])

    title = f'{options.queries} queries, {options.bank} samples of {options.dim} features, k = {task.ks}'
    clock = 'cpu' if options.device == 'cpu' else 'wall'
    candidates = [candidate(name, classify) for name, classify in ways.items()]
    report.compare(title, candidates, options.device, unit='run', clock=clock, baseline='reference')
    for name in ours if reference else ():
        _check_accuracies(report, name, results, task)
    report.extra['accuracy'] = results


def ks_of(options: argparse.Namespace) -> list[int]:
    """The usual numbers of neighbours, as far as the bank has so many."""
    return [k for k in KS if k <= options.bank]


def clustered(options: argparse.Namespace, number: int) -> tuple[Tensor, Tensor]:
    """Normalised features around one centre for each class, so wide apart that some neighbours are wrong."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(options.classes, options.dim, generator=generator)
    generator.manual_seed(number)
    labels = torch.randint(options.classes, (number,), generator=generator)
    features = centres[labels] + 2.5 * torch.randn(number, options.dim, generator=generator)
    return normalize(features, dim=1).to(options.device), labels.to(options.device)


def _reference_classifier(reference: Reference, options: argparse.Namespace, task: Task) -> Callable[[], dict]:
    classifier = reference.module('eval_knn').knn_classifier

    def classify() -> dict[str, float]:
        accuracies = {}
        with reference.running_on(options.device):
            for k in task.ks:
                tops = classifier(task.bank, task.labels, task.queries, task.answers, k, TEMPERATURE, options.classes)
                accuracies |= {f'top{top}_k{k}': float(value) for top, value in zip((1, 5), tops)}
        return accuracies

    return classify


def _check_accuracies(report: Report, name: str, results: dict[str, dict[str, float]], task: Task) -> None:
    """Identical, but for a top-5 where the neighbours of a query are of fewer classes: there the reference guesses."""
    ranked = knn_predict(*task[:3], task.ks, TEMPERATURE)
    guesses = {f'top5_k{k}' for k, classes in ranked.items() if bool((classes < 0).any())}
    compared = set(results['reference']) - guesses
    worst = max(abs(results[name][key] - results['reference'][key]) for key in compared)
    left_out = f'; left out: {", ".join(sorted(guesses))}' if guesses else ''
    report.check(name, worst < 1e-6, f'{len(compared)} accuracies within {worst:.2g} % of the reference{left_out}')


def _check_plain(report: Report, name: str, arguments: dict, task: Task) -> None:
    """The first queries by the formula: the votes of the k nearest, one query at a time."""
    queries = task.queries[:NUM_CHECKED]
    found = knn_predict(task.bank, task.labels, queries, task.ks, TEMPERATURE, **arguments)
    wrong = 0
    for number, query in enumerate(queries):
        similarities, nearest = (task.bank @ query).sort(descending=True)
        for k in task.ks:
            votes = torch.zeros(int(task.labels.max()) + 1, dtype=torch.double, device=query.device)
            votes.index_add_(0, task.labels[nearest[:k]], (similarities[:k].double() / TEMPERATURE).exp())
            # Two classes may have the same votes but for rounding.
            wrong += bool(votes[found[k][number, 0]] < votes.max() * (1 - 1e-5))
    report.check(name, wrong == 0, f'{wrong} of {len(queries) * len(task.ks)} answers differ from the plain formula')
