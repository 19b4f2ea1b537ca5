"""Candidates for the same work: timed in turn, checked, shown in tables for people and in one line of JSON."""

import argparse
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import PIL
import timm
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dino_plugin.engine.precision import CPUINFO, cpu_flags

WARM_UP = 1  # rounds that are not counted
CLOCKS = dict(cpu=time.process_time, wall=time.perf_counter)
FLAGS = {'avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'bf16'}  # on which the fast paths lean


class Candidate(NamedTuple):
    """One way to do a piece of work.

    Args:
        name: For table and JSON.
        run: One call, timed; it is given the number of the round, so that rounds may have different inputs.
        note: What this is.
        units: How many of what the table counts (images, frames…) one call makes.
        memory: Bytes that it needs, as `benchmark.ways.with_memory` counts them.
    """

    name: str
    run: Callable[[int], object]
    note: str = ''
    units: float = 1
    memory: float = 0


class Report:
    """What was measured and checked so far, printed as soon as it is known.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = getattr(options, 'device', 'cpu')
        self.checks: dict[str, bool] = {}
        self.tables: dict[str, dict[str, dict]] = {}
        self.machine = describe_machine()
        self._console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
        for name, value in self.machine.items():
            self._console.print(f'{name}: {value}')

    def compare(
        self, name: str, title: str, unit: str, candidates: Sequence[Candidate], clock: str | None = None
    ) -> None:
        """Call each candidate once a round, so that a slow moment of the machine falls on all of them.

        The order turns by one from round to round: no candidate always runs behind the same other one. A ratio is the
        median of the ratios within rounds; each median stands with the least and the most of all rounds.

        Args:
            name: In the JSON.
            title: Of the table.
            unit: What a figure is for: 'image', 'step'…
            candidates: The others are compared with the first.
            clock: 'cpu' counts the seconds that this process computes, whatever else the machine does; 'wall' is for
                work of other processes or of a device, and the default there.
        """
        clock = clock or ('cpu' if self.device == 'cpu' else 'wall')
        seconds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
        rounds = range(-WARM_UP, self.options.rounds)
        for number in track(rounds, title, console=Console(stderr=True), transient=True):
            start = number % len(candidates)
            for candidate in [*candidates[start:], *candidates[:start]]:
                taken = time_call(candidate.run, max(number, 0), clock, self.device)
                if number >= 0:
                    seconds[candidate.name].append(taken / candidate.units)
        first = seconds[candidates[0].name]
        rows = self.tables[name] = {}
        for candidate in candidates:
            mine = seconds[candidate.name]
            times = _spread([slow / fast for slow, fast in zip(first, mine)])
            rows[candidate.name] = dict(seconds=_spread(mine), times=times, memory=candidate.memory)
        self._show(f'{title} (seconds of the {dict(cpu="process", wall="wall")[clock]})', unit, candidates, rows)

    def _show(self, title: str, unit: str, candidates: Sequence[Candidate], rows: dict[str, dict]) -> None:
        columns = ['candidate', f'ms / {unit}', 'range', f'{unit}s / s', 'times as fast', 'range', 'MB', 'note']
        table = Table(*columns, title=title, title_justify='left')
        for candidate, row in zip(candidates, rows.values()):
            (middle, low, high), (times, least, most) = row['seconds'], row['times']
            table.add_row(
                candidate.name, f'{1e3 * middle:.4g}', f'{1e3 * low:.4g} - {1e3 * high:.4g}', f'{1 / middle:.4g}',
                f'{times:.2f}', f'{least:.2f} - {most:.2f}', f'{candidate.memory / 1e6:.4g}', candidate.note,
            )  # fmt: skip
        self._console.print(table)

    def check(self, name: str, passed: bool, detail: str) -> None:
        """Note whether a candidate computes what it should; of several notes under one name all must be good."""
        self.checks[name] = self.checks.get(name, True) and bool(passed)
        self.say(f'{"same" if passed else "NOT the same"}: {name}: {detail}')

    def say(self, text: str) -> None:
        """Something for people."""
        self._console.print(text, soft_wrap=True)

    def print_json(self) -> None:
        """Everything but what was said, in one line."""
        print(
            json.dumps(dict(options=vars(self.options), machine=self.machine, checks=self.checks, tables=self.tables))
        )


def time_call(run: Callable[[int], object], number: int, clock: str, device: str) -> float:
    """Seconds of one call, to the end of what it started on a GPU."""
    finish = torch.cuda.synchronize if device == 'cuda' else lambda: None
    finish()
    start = CLOCKS[clock]()
    run(number)
    finish()
    return CLOCKS[clock]() - start


def describe_machine() -> dict[str, str]:
    """Processor, GPU, versions and load, as they are now: figures mean nothing without them."""
    named = re.search(r'model name\s*: (.+)', CPUINFO.read_text(errors='replace') if CPUINFO.is_file() else '')
    versions = dict(torch=torch.__version__, timm=timm.__version__, OpenCV=cv2.__version__, Pillow=PIL.__version__)
    return dict(
        cpu=f'{named[1] if named else platform.processor()}, {os.cpu_count()} cores',
        flags=' '.join(sorted(FLAGS & cpu_flags())) or 'unknown',
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else 'none',
        versions=', '.join(f'{name} {version}' for name, version in versions.items()),
        load=f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else 'unknown',
    )


def _spread(values: Sequence[float]) -> list[float]:
    """Median, least, most."""
    return [statistics.median(values), min(values), max(values)]
