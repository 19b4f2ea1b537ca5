"""One part in a process of its own: what crashes, hangs or runs out of memory takes nothing else along."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from gpu_checks.findings import read_findings
from gpu_checks.parts import Part

TOOLS = Path(__file__).resolve().parents[1]
NOT_RUN = 77  # exit status of a part that cannot run here
GENTLE = 0.85  # of its limit a part tries to keep to; at the limit it is killed
LOG_LINES = 30  # of a part that failed, kept in the result
FAILURES = ('failed', 'crashed', 'stopped')


def run_part(part: Part, options: dict, limit: float) -> dict:
    """Status, seconds and findings of a part.

    The status is 'passed', 'failed' (a check, or an exception), 'crashed' (the process died), 'stopped' (at the limit)
    or 'not run'; a reason stands with all but the first.

    Args:
        part: To be run.
        options: Of the command line, as JSON can say them.
        limit: Seconds, after which the process and all that it has started are killed.
    """
    began = time.time()
    with tempfile.TemporaryDirectory(prefix='gpu_check_', ignore_cleanup_errors=True) as folder:
        given = {**options, 'folder': folder, 'until': began + GENTLE * limit}
        command = [sys.executable, '-m', 'gpu_checks.run_part', part.module, json.dumps(given)]
        log = Path(folder, 'log.txt')
        with log.open('w') as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=_environment(options), start_new_session=True
            )
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        found = read_findings(Path(folder, 'findings.jsonl'))
        status, reason = _status(code, found, limit, log.read_text(errors='replace').splitlines())
    return dict(status=status, seconds=round(time.time() - began, 1), reason=reason, **found)


def _status(code: int | None, found: dict[str, list[dict]], limit: float, log: list[str]) -> tuple[str, str]:
    last_lines = '\n'.join(log[-LOG_LINES:])
    if code is None:
        return 'stopped', f'still running after {limit:.0f} s\n{last_lines}'
    if code == NOT_RUN:
        return 'not run', log[-1] if log else ''
    if code < 0:
        return 'crashed', f'ended by {signal.Signals(-code).name}\n{last_lines}'
    if code:
        return 'failed', f'{log[-1] if log else f"exit status {code}"}\n{last_lines}'
    if wrong := [check['name'] for check in found['checks'] if not check['passed']]:
        return 'failed', ', '.join(wrong)
    if not found['checks'] and not found['figures']:
        return 'not run', '; '.join(sorted({entry['reason'] for entry in found['left_out']}))
    return 'passed', ''


def _environment(options: dict) -> dict[str, str]:
    """The packages of this checkout are found even where it is not installed; without the GPU if it is not wanted."""
    paths = [str(TOOLS), str(TOOLS.parent), os.environ.get('PYTHONPATH', '')]
    hidden = {'CUDA_VISIBLE_DEVICES': ''} if options['device'] == 'cpu' else {}
    threads = {'OMP_NUM_THREADS': '1'} if options['size'] == 'small' else {}  # for tiny work more are slower
    return os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, paths)), 'HF_HUB_OFFLINE': '1'} | hidden | threads
