"""The revisited Oxford and Paris: ground truth with easy, hard and junk images, and the scores of its three set-ups."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.evaluation.nearest import unit_features
from dino_plugin.evaluation.retrieval.plain_pickle import read_plain_pickle
from dino_plugin.evaluation.retrieval.ranking import AT, mean_scores, score_queries


class Query(NamedTuple):
    """An image to search for: its box (left, top, right, bottom in pixels) and numbers of images of the bank."""

    name: str
    box: tuple[float, ...]
    easy: tuple[int, ...]
    hard: tuple[int, ...]
    junk: tuple[int, ...]


class GroundTruth(NamedTuple):
    """Names of the bank's images, without ending, in the order of their numbers; and the queries."""

    images: tuple[str, ...]
    queries: tuple[Query, ...]


Kinds = Callable[[Query], tuple[int, ...]]

# What is right and what does not count, of the images that are judged for a query.
SETUPS: dict[str, tuple[Kinds, Kinds]] = {
    'Easy': (lambda query: query.easy, lambda query: query.hard + query.junk),
    'Medium': (lambda query: query.easy + query.hard, lambda query: query.junk),
    'Hard': (lambda query: query.hard, lambda query: query.easy + query.junk),
}


def read_ground_truth(path: str | os.PathLike) -> GroundTruth:
    """Read `gnd_roxford5k.pkl`, `gnd_rparis6k.pkl`, or a JSON of the same content, without running code of the file.

    The content is `{'imlist': [name, ...], 'qimlist': [name, ...], 'gnd': [{'bbx': [left, top, right, bottom],
    'easy': [number, ...], 'hard': [...], 'junk': [...]}, ...]}`, one entry of `gnd` for each name of `qimlist`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, or a number is not one of an image; the message names the file.
    """
    data = Path(path).read_bytes()
    try:
        content = json.loads(data) if Path(path).suffix == '.json' else read_plain_pickle(data)
        return _checked(content)
    except (ValueError, KeyError, TypeError) as error:
        reason = f'{error} is missing' if isinstance(error, KeyError) else error
        raise ValueError(f'{path} is no ground truth of the revisited Oxford or Paris: {reason}') from error


def _checked(content: Any) -> GroundTruth:
    images = tuple(str(name) for name in content['imlist'])
    names, entries = content['qimlist'], content['gnd']
    if len(names) != len(entries):
        raise ValueError(f'{len(names)} names of queries and {len(entries)} entries of gnd')
    queries = []
    for name, entry in zip(names, entries):
        judged = [tuple(int(number) for number in entry[kind]) for kind in ('easy', 'hard', 'junk')]
        numbers = [number for part in judged for number in part]
        if numbers and not 0 <= min(numbers) <= max(numbers) < len(images):
            raise ValueError(f'query {name} names images {min(numbers)} to {max(numbers)} of {len(images)}')
        if len(set(numbers)) < len(numbers):
            raise ValueError(f'query {name} names an image twice')
        box = tuple(float(side) for side in entry['bbx'])
        if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f'query {name} has the box {box}, not left, top, right, bottom')
        queries.append(Query(str(name), box, *judged))
    return GroundTruth(images, tuple(queries))


def landmark_retrieval(
    bank_features: Float[Tensor, 'bank dim'],
    bank_numbers: Int[Tensor, ' bank'],
    query_features: Float[Tensor, 'queries dim'],
    query_numbers: Int[Tensor, ' queries'],
    truth: Sequence[Query],
    at: Sequence[int] = AT,
    over_ranks: bool = False,
) -> dict[str, float]:
    """Mean average precision and mean precision at k of the set-ups Easy, Medium and Hard; in percent.

    `{'mAP/Easy': ..., 'mP@1/Easy': ..., 'mAP/Medium': ..., ...}`. In Medium easy and hard images are right and junk is
    taken out of the ranking; in Easy and Hard the other kind is taken out, too. Queries for which nothing is right in a
    set-up are left out of its means; a set-up without any such query has no numbers.

    Args:
        bank_features: Images to search among.
        bank_numbers: Their numbers in the ground truth; -1 for distractors, which are never right.
        query_features: Images to search for.
        query_numbers: Their places in `truth`.
        truth: All queries of the ground truth.
        at: Numbers of nearest images, see `precision_at`.
        over_ranks: As in `class_retrieval`.

    Raises:
        ValueError: If features are not finite, or the bank is empty.

    References:
        Radenović et al. 2018, arXiv:1803.11285; average precision by trapezoids, as in their evaluation.
    """
    if over_ranks:
        bank_features, bank_numbers = gather_over_ranks(bank_features), gather_over_ranks(bank_numbers)
    bank, queries = unit_features(bank_features, 'bank'), unit_features(query_features, 'queries')
    found = {}
    for setup, (right, ignored) in SETUPS.items():
        if not any(right(query) for query in truth):
            continue
        judge = _judge(truth, right, ignored, bank_numbers, query_numbers)
        scores = mean_scores(score_queries(bank, queries, judge, at, trapezoids=True), at, over_ranks, 'a right image')
        found |= {f'{name}/{setup}': score for name, score in scores.items() if name != 'queries'}
    return found


def _judge(
    truth: Sequence[Query],
    right: Kinds,
    ignored: Kinds,
    bank_numbers: Int[Tensor, ' bank'],
    query_numbers: Int[Tensor, ' queries'],
) -> Callable[[slice], tuple[Bool[Tensor, 'some bank'], Bool[Tensor, 'some bank']]]:
    def among(numbers: tuple[int, ...]) -> Bool[Tensor, ' bank']:
        return torch.isin(bank_numbers, torch.tensor(numbers, dtype=torch.long, device=bank_numbers.device))

    def judge(some: slice) -> tuple[Bool[Tensor, 'some bank'], Bool[Tensor, 'some bank']]:
        queries = [truth[number] for number in query_numbers[some].tolist()]
        relevant, junk = (torch.stack([among(kinds(query)) for query in queries]) for kinds in (right, ignored))
        return relevant, junk

    return judge
