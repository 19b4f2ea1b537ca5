"""The doctor's page: one HTML file with findings and pictures that loads nothing and runs no script."""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from dino_plugin.doctor.findings import Finding, worst_first
from dino_plugin.report.page import ALONE, template
from dino_plugin.report.pictures import picture_as_webp

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header><h1>Is it going to learn?</h1><p>{title}</p><p>{counts}</p></header>
<main><table><thead><tr><th>level</th><th>what</th><th>found</th><th>what to do</th></tr></thead>
<tbody>
{rows}
</tbody></table>
{pictures}
</main>
</body>
</html>
"""


def page_of(title: str, findings: Sequence[Finding], pictures: Iterable[Path]) -> str:
    """The HTML.

    Args:
        title: Name of the config.
        findings: In any order.
        pictures: Files, which the page holds.
    """
    counts: dict[str, int] = {}
    for finding in worst_first(findings):
        counts[finding.level] = counts.get(finding.level, 0) + 1
    cells = [''.join(f'<td>{html.escape(text)}</td>' for text in finding) for finding in worst_first(findings)]
    return _PAGE.format(
        policy=ALONE,
        title=html.escape(title),
        style=template('page.css'),
        counts=', '.join(f'{number} {level}' for level, number in counts.items()),
        rows='\n'.join(f'<tr>{row}</tr>' for row in cells),
        pictures='\n'.join(map(_figure, pictures)),
    )


def _figure(path: Path) -> str:
    held = base64.b64encode(picture_as_webp(path)).decode()
    name = html.escape(path.stem)
    return f'<h2>{name}</h2><img alt="{name}" src="data:image/webp;base64,{held}">'
