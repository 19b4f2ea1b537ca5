"""What ``tools/benchmark.py`` does, from its arguments to its last line."""

from collections.abc import Sequence

from dino_plugin.benchmark.arguments import build_parser, complete


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Returns:
        The exit status: 1 if a check failed, 130 after Ctrl-C, else 0.
    """
    options = build_parser().parse_args(arguments)
    # Nothing heavy is imported before: --help and wrong usage are answered at once.
    import importlib
    import random
    from pathlib import Path

    import cv2
    import torch

    from dino_plugin.benchmark.reference import Reference
    from dino_plugin.benchmark.report import Report

    complete(options, torch.cuda.is_available())
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
        importlib.import_module(f'dino_plugin.benchmark.{options.command}').run(options, report, reference)
    except KeyboardInterrupt:
        report.interrupted = True
    report.show()
    return 130 if report.interrupted else int(not all(report.checks.values()))
