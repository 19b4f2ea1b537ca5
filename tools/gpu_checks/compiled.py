"""Twenty steps of each method with compiled blocks and colours."""

import argparse

from gpu_checks.findings import Findings, NotRun
from gpu_checks.machine import missing_compiler
from gpu_checks.training import check_all, every_run


def run(options: argparse.Namespace, findings: Findings) -> None:
    """As eager, where there is a compiler.

    Raises:
        NotRun: If there is none.
    """
    if missing := missing_compiler(options.device):
        raise NotRun(missing)
    check_all(every_run(compiled=True), options, findings)
