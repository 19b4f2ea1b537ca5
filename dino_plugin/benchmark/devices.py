"""Where a benchmark runs, and what can be chosen there."""

import torch


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
