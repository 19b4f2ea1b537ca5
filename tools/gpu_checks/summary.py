"""Results for people: a line for each part while it runs, and tables in Markdown."""

from collections.abc import Sequence


def headline(found: dict) -> str:
    """A part in one line, then what failed in it."""
    good = sum(check['passed'] for check in found['checks'])
    counts = [f'{found["seconds"]:.0f} s']
    if found['checks']:
        counts.append(f'{good} of {len(found["checks"])} checks passed')
    if found['left_out']:
        counts.append(f'{len(found["left_out"])} left out')
    lines = [f'{found["status"]}: {", ".join(counts)}']
    if found['reason']:
        lines[0] += f' ({found["reason"].splitlines()[0]})'
    lines += [f'{"":<13}{check["name"]}: {check["detail"]}' for check in found['checks'] if not check['passed']]
    return '\n'.join(lines)


def markdown(results: dict) -> str:
    """The tables that docs/performance.md takes in: what was measured, then what was checked."""
    machine = next(iter(results['parts'].get('machine', {}).get('figures', [])), {})
    told = ', '.join(f'{name}: {value}' for name, value in machine.items() if name != 'name') or 'unknown'
    options = results['options']
    title = f'Machine: {told}. {results["began"]}, size {options["size"]}, {results["seconds"]:.0f} s.'
    tables = [_speed(results['parts']), _data(results['parts']), _checks(results['parts'])]
    return '\n\n'.join([title, *filter(None, tables)])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join(
        '| ' + ' | '.join(cell.replace('|', '/').replace('\n', ' ') for cell in row) + ' |' for row in lines
    )


def _speed(parts: dict) -> str:
    """Beside the reference where it ran; the limit is one large product of matrices in the same precision."""
    rows = [
        [
            f'step, {row["network"]}, {row["way"]}, batch {row["batch"]}',
            f'{1e3 * row["seconds"]:.3g} ms an image',
            f'{row["times"]:.2f}' if row['beside_reference'] else '',
            f'{row["memory"] / 2**30:.2f} GiB',
            f'{row["teraflops"]:.3g} TFLOP/s' if row.get('teraflops') else '',
            f'{row["share_of_product"]:.0%} of {row["product_teraflops"]:.4g}' if row.get('teraflops') else '',
        ]
        for row in parts.get('speed', {}).get('figures', [])
    ]
    columns = ['what', 'time', 'times the reference', 'peak memory', 'speed', 'the limit, TFLOP/s']
    return _table(columns, rows) if rows else ''


def _data(parts: dict) -> str:
    rows = [
        [
            f'split={row["name"]}, {row["workers"]} workers',
            f'{row["loader_images_per_second"]:.4g}',
            f'{row["training_images_per_second"]:.4g}',
            f'{row["waiting"]:.0%}',
        ]
        for row in parts.get('data', {}).get('figures', [])
    ]
    columns = ['data path', 'images/s of the loader alone', 'images/s of training', 'time waiting for images']
    return _table(columns, rows) if rows else ''


def _checks(parts: dict) -> str:
    rows = []
    for name, found in parts.items():
        rows.append(
            [f'**{name}**', found['status'], (found['reason'].splitlines() or [''])[0], f'{found["seconds"]:.0f} s']
        )
        rows += [
            [check['name'], 'passed' if check['passed'] else 'FAILED', check['detail'], ''] for check in found['checks']
        ]
        reasons = sorted({entry['reason'] for entry in found['left_out']})
        for reason in reasons:
            names = [entry['name'] for entry in found['left_out'] if entry['reason'] == reason]
            rows.append([', '.join(names), 'not run', reason, ''])
    return _table(['check', 'result', 'detail', 'time'], rows)
