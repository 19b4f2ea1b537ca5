"""One HTML file that holds all it shows, and that loads nothing from anywhere."""

import base64
import hashlib
import html
import json
import os
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from dino_plugin.report.content import Sources, content
from dino_plugin.report.folders import find_runs
from dino_plugin.report.pictures import film_as_webp, picture_as_webp
from dino_plugin.report.runs import Run

ALONE = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


class Embedded(Sources):
    """Pictures inside the page."""

    def picture(self, run: Run, path: Path) -> str:
        """The picture as an address that holds it."""
        try:
            return _data(picture_as_webp(path))
        except ValueError:
            return ''

    def film(self, run: Run, path: Path) -> tuple[str, str]:
        """The film and its first frame as addresses that hold them."""
        try:
            moving, still = film_as_webp(path)
        except ValueError:
            return '', ''
        return _data(moving), _data(still)


def write_page(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write the page of all runs in some folders.

    Args:
        folders: Working directories, or folders that hold some.
        out: The HTML file; its folder is made.
    """
    runs = [Run(name, folder) for name, folder in find_runs(folders).items()]
    for run in runs:
        run.update()
    shown = content(runs, Embedded()) | dict(given=[str(folder) for folder in folders])
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'{out.name}.partial')
    partial.write_bytes(page(shown).encode(errors='replace'))
    os.replace(partial, out)
    return out


def page(shown: dict[str, Any], policy: str = ALONE, plotly: str | None = None) -> str:
    """The HTML of some content.

    Only the scripts that this function writes can run: the page's policy names their hashes. All that comes from a run
    is data of the type JSON, which the page's script puts into text nodes.

    Args:
        shown: By `content`.
        policy: Content security policy, without the scripts.
        plotly: Address of plotly's script; None puts it into the page.
    """
    scripts = [template('page.js')] if plotly else [get_plotlyjs().replace('\r', ''), template('page.js')]
    hashes = ' '.join(f"'sha256-{_hash(script)}'" for script in scripts)
    own = " 'self'" if plotly else ''
    tags = [f'<script src="{html.escape(plotly)}"></script>'] if plotly else []
    parts = dict(
        policy=f'{policy}; script-src {hashes}{own}',
        title=html.escape(str(shown['title'])),
        style=template('page.css'),
        content=as_json(shown),
        scripts='\n'.join([*tags, *(f'<script>{script}</script>' for script in scripts)]),
    )
    text = template('page.html')
    head, *rest = text.split('{{')
    filled = [head]
    for piece in rest:
        name, _, after = piece.partition('}}')
        filled += [parts[name], after]
    return ''.join(filled)


def as_json(shown: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(shown, allow_nan=False).replace('<', '\\u003c')


def template(name: str) -> str:
    """A file of the room's folder `template`."""
    return (package_files('dino_plugin.report') / 'template' / name).read_text(encoding='utf8')


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _data(picture: bytes) -> str:
    return f'data:image/webp;base64,{base64.b64encode(picture).decode()}'
