"""Do every fault of `tests/faults/` to the plugin and count what became of it: the table of docs/reliability.md.

Each file of `tests/faults/` has `cases()`: a dictionary from a case's name to a function. The function gets an empty
folder, does the fault to the real code, asserts what docs/reliability.md promises and returns one word: 'survived' (the
work went on, or came back, with nothing lost) or 'refused' (an error named what was given and the cure, before any
harm). A promise that does not hold is an exception, and the case counts as broken.

    python tests/fault_injection.py [--only kills images ...] [--out DIR]
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

OUTCOMES = ('survived', 'refused', 'broken')
KINDS = sorted(path.stem for path in Path(__file__).with_name('faults').glob('[a-z]*.py'))


def outcome_of(case, folder: Path) -> tuple[str, str]:
    """What became of one case, and the error's text where its promise did not hold."""
    try:
        outcome = case(folder)
    except Exception:
        return 'broken', traceback.format_exc()
    return (outcome, '') if outcome in ('survived', 'refused') else ('broken', f'returned {outcome!r}')


def run(kind: str) -> list[dict]:
    """Every case of one kind, one line each as it ends."""
    results = []
    for name, case in importlib.import_module(f'faults.{kind}').cases().items():
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            outcome, error = outcome_of(case, Path(folder))
        seconds = round(time.monotonic() - began, 1)
        results.append(dict(kind=kind, case=name, outcome=outcome, seconds=seconds, error=error))
        print(f'{kind:12} {outcome:9} {seconds:6.1f} s  {name}{error and chr(10) + error}', flush=True)
    return results


def table(results: list[dict]) -> str:
    """Counts by kind, as a Markdown table."""
    counts = Counter((result['kind'], result['outcome']) for result in results)
    lines = [f'| fault | cases | {" | ".join(OUTCOMES)} |', '|---|---|---|---|---|']
    for kind in sorted({result['kind'] for result in results}):
        row = [counts[kind, outcome] for outcome in OUTCOMES]
        lines.append(f'| {kind} | {sum(row)} | {" | ".join(map(str, row))} |')
    return '\n'.join(lines)


def main() -> int:
    """Run the chosen kinds; the exit code is 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=KINDS, default=KINDS, help='kinds of fault; all by default')
    parser.add_argument('--out', type=Path, help='folder for faults.json')
    arguments = parser.parse_args()
    results = [result for kind in arguments.only for result in run(kind)]
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / 'faults.json').write_text(json.dumps(results, indent=1) + '\n')
    print(table(results))
    return int(any(result['outcome'] == 'broken' for result in results))


if __name__ == '__main__':
    sys.exit(main())
