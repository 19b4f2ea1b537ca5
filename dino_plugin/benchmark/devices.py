"""Where a benchmark runs, and what can be chosen there."""

import argparse

import torch


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """The GPU, if there is one."""
    best = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', choices=['cpu', 'cuda'], default=best, help=f'(default here: {best})')


def say_missing_gpu(report, names: list[str]) -> None:
    """Name the rows that only a GPU can fill, and the command that does it.

    Args:
        report: A :class:`~dino_plugin.benchmark.report.Report`.
        names: Of the rows.
    """
    reference = report.options.reference or 'CHECKOUT'
    command = f'python tools/benchmark.py {report.command} --device cuda --reference {reference}'
    why = 'measured on a CPU here' if torch.cuda.is_available() else 'no GPU'
    for name in names:
        report.say_missing(name, f'not measured: {why}; {command}')
