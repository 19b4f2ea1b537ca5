"""The arguments of ``tools/benchmark.py``, and what happens from there to the last line."""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from dino_plugin.benchmark import collate, data, knn, parts, propagation, scaling, step
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report

COMMANDS = {
    'data': data,
    'collate': collate,
    'step': step,
    'knn': knn,
    'propagation': propagation,
    'parts': parts,
    'scaling': scaling,
}


def build_parser() -> argparse.ArgumentParser:
    """One sub-command for each file of this folder; a file brings its own arguments."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument('--reference', help='a checkout of facebookresearch/dino, to be run beside ours')
    shared.add_argument('--rounds', type=_positive, default=5, help='of all candidates in turn (default: 5)')
    shared.add_argument('--warm-up', type=int, default=1, help='rounds before that, not counted (default: 1)')
    shared.add_argument('--threads', type=_positive, default=1, help='of torch and OpenCV (default: 1)')
    parser = argparse.ArgumentParser(
        description='Measure dino_plugin, beside facebookresearch/dino if there is a checkout of it. '
        'Tables for people; the last line is one JSON object.'
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, parents=[shared], help=(module.__doc__ or '').strip()))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Returns:
        The exit status: 1 if a check failed, 130 after Ctrl-C, else 0.
    """
    options = build_parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(0 if options.threads == 1 else options.threads)
    torch.manual_seed(0)
    random.seed(0)
    reference = None
    if options.reference:
        try:
            reference = Reference(Path(options.reference))
        except ValueError as error:
            raise SystemExit(f'--reference: {error}') from error
    report = Report(options.command, options)
    try:
        COMMANDS[options.command].run(options, report, reference)
    except KeyboardInterrupt:
        report.interrupted = True
    report.show()
    return 130 if report.interrupted else int(not all(report.checks.values()))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is no number of 1 or more')
    return number
