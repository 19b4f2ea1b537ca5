"""What a benchmark found: progress while it runs, then tables for people and one line of JSON for programs."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dino_plugin.benchmark.harness import Candidate, Comparison, measure, median
from dino_plugin.benchmark.machine import describe_machine, in_words


class Report:
    """Everything measured and checked so far; it can be shown at any moment, also after Ctrl-C.

    Args:
        command: Name of the sub-command.
        options: Its arguments.
    """

    def __init__(self, command: str, options: argparse.Namespace) -> None:
        self.command = command
        self.options = options
        self.machine = describe_machine()
        self.comparisons: list[Comparison] = []
        self.checks: dict[str, bool] = {}
        self.details: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []
        self.more_ratios: dict[str, float] = {}
        self.extra: dict[str, Any] = {}
        self.tables: list[Table] = []
        self.interrupted = False

    def compare(self, title: str, candidates: Sequence[Candidate], device: str = 'cpu', **fields: Any) -> Comparison:
        """Measure candidates in turn; a baseline that is none of them is dropped.

        Args:
            title: For the table.
            candidates: At least one.
            device: The one that they run on.
            **fields: Of :class:`Comparison`.
        """
        if fields.get('baseline') not in [candidate.name for candidate in candidates]:
            fields['baseline'] = None
        comparison = Comparison(title, candidates=list(candidates), **fields)
        self.comparisons.append(comparison)
        rounds, warm_up = self.options.rounds, self.options.warm_up
        columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(title, total=(rounds + warm_up) * len(candidates))
            for _ in measure(comparison, rounds, warm_up, torch.device(device)):
                progress.advance(task)
        return comparison

    def check(self, name: str, passed: bool, detail: str) -> None:
        """Note whether a candidate computed what it should; of several notes under one name all must be good."""
        self.checks[name] = self.checks.get(name, True) and bool(passed)
        self.details[name] = f'{self.details[name]}; {detail}' if name in self.details else detail

    def say(self, note: str) -> None:
        """A line for people, below the tables."""
        self.notes.append(note)

    def add_ratio(self, name: str, value: float) -> None:
        """One that is no ratio of times, such as that of two memories: above 1 where ours needs less."""
        self.more_ratios[name] = value

    def say_missing(self, name: str, why: str) -> None:
        """A row that could not be measured here, and what would fill it."""
        self.missing[name] = why

    def as_dict(self) -> dict[str, Any]:
        """What the JSON says; seconds and ratios are medians, ranges go from the least to the most of all rounds."""
        named = [(group, candidate.name) for group in self.comparisons for candidate in group.candidates]
        measured = [(group, name) for group, name in named if group.seconds(name)]
        result = dict(
            command=self.command,
            machine=self.machine,
            options={key: value for key, value in vars(self.options).items() if not callable(value)},
            seconds={name: median(group.seconds(name)) for group, name in measured},
            seconds_range={name: _range(group.seconds(name)) for group, name in measured},
            ratios=dict(self.more_ratios),
            ratios_range={},
            checks=self.checks,
            details=self.details,
            missing=self.missing,
            interrupted=self.interrupted,
        )
        for group, name in measured:
            if ratios := group.ratios(name):
                result.setdefault(group.section, {})[name] = median(ratios)
                result.setdefault(f'{group.section}_range', {})[name] = _range(ratios)
        return _finite({**result, **self.extra})

    def show(self) -> None:
        """Tables, then the JSON as the last line."""
        width = None if sys.stdout.isatty() else 140
        console = Console(width=width)
        console.print(in_words(self.machine), highlight=False, markup=False)
        for comparison in self.comparisons:
            console.print(self._table(comparison))
        for table in self.tables:
            console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)
        for name, detail in self.details.items():
            console.print(f'{"same" if self.checks[name] else "NOT the same"}: {name}: {detail}', markup=False)
        for name, why in self.missing.items():
            console.print(f'{name}: {why}', markup=False, highlight=False, soft_wrap=True)
        if self.interrupted:
            console.print('Interrupted: this is what was measured so far.')
        print(json.dumps(self.as_dict(), default=str), flush=True)

    def _table(self, comparison: Comparison) -> Table:
        clocks = {'cpu': "seconds of the process's own threads", 'wall': 'seconds on the wall'}
        table = Table(title=f'{comparison.title} ({clocks[comparison.clock]})', title_justify='left')
        rows = [self._row(comparison, candidate) for candidate in comparison.candidates]
        filled = [heading for heading in rows[0] if any(row[heading] for row in rows)] if rows else []
        for heading in filled:
            table.add_column(heading, overflow='fold')
        for row in rows:
            table.add_row(*(row[heading] for heading in filled))
        return table

    def _row(self, comparison: Comparison, candidate: Candidate) -> dict[str, str]:
        """By heading; columns that are empty in all rows are left out."""
        name, unit = candidate.name, comparison.unit
        seconds, ratios = comparison.seconds(name), comparison.ratios(name)
        middle = median(seconds)
        return {
            'candidate': name,
            f'ms / {unit}': f'{1000 * middle:.4g}' if seconds else 'not measured',
            'range': '{:.4g} - {:.4g}'.format(*(1000 * value for value in _range(seconds))) if seconds else '',
            f'{unit}s / s': f'{1 / middle:.4g}' if seconds else '',
            'times as fast': f'{median(ratios):.2f}' if ratios else '1' if name == comparison.baseline else '',
            'range of it': '{:.2f} - {:.2f}'.format(*_range(ratios)) if ratios else '',
            'same': {True: 'yes', False: 'NO', None: ''}[self.checks.get(name)],
            'what it is': candidate.note,
        }


def _range(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null instead."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
