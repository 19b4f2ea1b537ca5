"""The process of one part: python -m gpu_checks.run_part MODULE OPTIONS_AS_JSON"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from gpu_checks.findings import Findings, NotRun
from gpu_checks.supervision import NOT_RUN


def main(module: str, given: str) -> int:
    """Run it; the exit status is 0 whatever its checks say."""
    options = SimpleNamespace(**json.loads(given))
    findings = Findings(Path(options.folder, 'findings.jsonl'), options.until)
    try:
        importlib.import_module(module).run(options, findings)
    except NotRun as reason:
        print(reason, flush=True)  # the last line of the log
        return NOT_RUN
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
