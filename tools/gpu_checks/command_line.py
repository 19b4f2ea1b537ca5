"""The command line of ``tools/gpu_check.py``; it imports nothing heavy, since every part is a process of its own."""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from gpu_checks.parts import PARTS, Part
from gpu_checks.summary import headline, markdown
from gpu_checks.supervision import FAILURES, run_part

LEAST_SECONDS = 5  # for less no part is started


def build_parser() -> argparse.ArgumentParser:
    """One call does everything."""
    parts = '\n'.join(f'  {part.name:<11}{part.what}' for part in PARTS)
    parser = argparse.ArgumentParser(
        description='Check and measure dino_plugin on one GPU, part by part; what fails does not end the rest.',
        epilog=f'parts, in this order:\n{parts}\n\nThe exit status is 1 if a part failed, else 0.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda', help='(default: cuda)')
    parser.add_argument(
        '--size', choices=['full', 'small'], help='small: tiny networks and views (default: full on cuda, small on cpu)'
    )
    parser.add_argument('--out', default='gpu_check.json', help='where the results go (default: gpu_check.json)')
    parser.add_argument('--reference', help='a checkout of facebookresearch/dino, to be run beside ours')
    parser.add_argument('--images', help='a folder; every image below it (default: those of tests/data)')
    parser.add_argument('--minutes', type=float, default=8, help='for everything (default: 8)')
    names = [part.name for part in PARTS]
    parser.add_argument('--only', nargs='+', choices=names, default=names, metavar='PART', help='see below')
    parser.add_argument(
        '--table', action='store_true', help='run nothing; print the tables for docs/performance.md from --out'
    )
    return parser


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    """Run the parts, write the JSON, print the tables.

    Returns:
        The exit status: 1 if a part failed, else 0.
    """
    parser = build_parser()
    options = vars(parser.parse_args(arguments))
    out = Path(options.pop('out'))
    if options.pop('table'):
        if not out.is_file():
            parser.error(f'--table: {out} does not exist; run without --table first, or name the file with --out.')
        print(markdown(json.loads(out.read_text())))
        return 0
    for name in ('reference', 'images'):
        if options[name] and not Path(options[name]).is_dir():
            parser.error(f'--{name}: {options[name]} is not a folder.')
        options[name] = options[name] and str(Path(options[name]).resolve())
    options['size'] = options['size'] or ('full' if options['device'] == 'cuda' else 'small')
    chosen = [part for part in parts if part.name in options['only'] or part not in PARTS]
    results = dict(began=datetime.now(timezone.utc).isoformat(timespec='seconds'), options=options, parts={})
    run_all(chosen, options, results, out)
    print(f'\n{markdown(results)}\n\nWritten to {out}.')
    return int(any(part['status'] in FAILURES for part in results['parts'].values()))


def run_all(parts: Sequence[Part], options: dict, results: dict, out: Path) -> None:
    """One part after the other, each within its share of the time that is left; the JSON is written after each."""
    began, end = time.time(), time.time() + 60 * options['minutes']
    for number, part in enumerate(parts):
        limit = (end - time.time()) * part.weight / sum(later.weight for later in parts[number:])
        print(f'{part.name:<11}{part.what}; at most {limit:.0f} s', flush=True)
        if reason := _no_gpu(results):
            found = dict(status='not run', seconds=0, reason=reason, checks=[], figures=[], left_out=[])
        elif limit < LEAST_SECONDS:
            found = dict(status='not run', seconds=0, reason='no time left', checks=[], figures=[], left_out=[])
        else:
            found = run_part(part, options, limit)
        results['parts'][part.name] = found
        results['seconds'] = round(time.time() - began, 1)
        out.write_text(json.dumps(results, indent=1) + '\n')
        print(f'{"":<11}{headline(found)}', flush=True)


def _no_gpu(results: dict) -> str:
    """Why no other part can run, as the first one has found."""
    checks = results['parts'].get('machine', {}).get('checks', [])
    return next((check['detail'] for check in checks if check['name'] == 'device' and not check['passed']), '')
