"""Some tests of ``tests/`` on the device: what trains by mmengine's runner goes there by itself, the rest is told."""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from gpu_checks.findings import Findings, NotRun

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ('pytest', 'beartype', 'jaxtyping')
# Parity of losses, heads and targets with slow references, whose tensors are made on the device. Of the other tests
# of these folders some draw from a generator of the CPU, start processes, or turn tensors into arrays.
ON_DEVICE = (
    'tests/core/test_gram.py',
    'tests/core/test_heads.py',
    'tests/core/test_targets.py',
    'tests/core/test_statistics.py',
)
BY_RUNNER = (
    'tests/engine/training/test_training.py',
    '-k',
    'moves_by_the_schedule or accumulated or bit_for_bit or skipped',
)


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Both sets.

    Raises:
        NotRun: Without pytest and what it needs here, or without a checkout.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise NotRun(f'no {", ".join(missing)}: pip install them')
    if not (REPOSITORY / 'tests').is_dir():
        raise NotRun('no tests/: it is in a checkout only')
    findings.attempt('on the device', lambda: _report('on the device', ON_DEVICE, options, findings))
    findings.attempt('by the runner', lambda: _report('by the runner', BY_RUNNER, options, findings))


def _report(name: str, files: tuple[str, ...], options: argparse.Namespace, findings: Findings) -> None:
    plugin = ['-p', 'gpu_checks.default_device'] if files is ON_DEVICE else []
    report = Path(options.folder, 'report.xml')
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *plugin, f'--junitxml={report}', *files]
    seconds = max(findings.seconds_left, 1.0)
    try:
        subprocess.run(command, cwd=REPOSITORY, env=os.environ | {'GPU_CHECK_DEVICE': options.device}, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise NotRun(f'not finished in {seconds:.0f} s') from None
    passed, failed = counts(report)
    told = f'{passed} tests passed' + (f', {len(failed)} failed: {", ".join(failed)}' if failed else '')
    findings.check(name, passed > 0 and not failed, told, passed_tests=passed, failed_tests=failed)


def counts(report: Path) -> tuple[int, list[str]]:
    """How many tests passed, and the names of those that failed."""
    cases = list(ElementTree.parse(report).iter('testcase'))
    failed = [
        case.get('name', '') for case in cases if case.find('failure') is not None or case.find('error') is not None
    ]
    skipped = sum(case.find('skipped') is not None for case in cases)
    return len(cases) - len(failed) - skipped, failed
