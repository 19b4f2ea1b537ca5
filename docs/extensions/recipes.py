"""Tables of recipes, read from configs/*/metafile.yml and the first lines of each config when the site is built.

``{recipes} DINO`` shows those of a collection, ``{recipes}`` all of them.
"""

import re
from itertools import chain
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

UNITS = {'Epochs': 'epochs', 'Iterations': 'iterations'}
TABLE = [
    '```{list-table}', ':header-rows: 1', ':class: recipes', ':widths: 26 15 17 18 24', '',
    '* - recipe', '  - network', '  - images; length', '  - hardware', '  - expected, and its source',
]  # fmt: skip


class Recipes(SphinxDirective):
    """The table of one collection, or a heading and a table for each."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Sphinx calls it where the page has the directive."""
        root = Path(self.env.srcdir)
        up = '../' * self.env.docname.count('/')
        parts = []
        for name in self.arguments or collections(root):
            rows = [row(root, model, up) for model in models(root) if model['In Collection'] == name]
            if not rows:
                raise self.error(f'No metafile has a recipe of the collection {name}: {collections(root)}.')
            parts += [*([] if self.arguments else [f'## {name}', '']), *TABLE, *chain.from_iterable(rows), '```', '']
        return self.parse_text_to_nodes('\n'.join(parts), allow_section_headings=True)


def metafiles(root: Path) -> list[dict]:
    """The files that model-index.yml names, in its order."""
    return [
        yaml.safe_load((root / name).read_text())
        for name in yaml.safe_load((root / 'model-index.yml').read_text())['Import']
    ]


def collections(root: Path) -> list[str]:
    """Names of all collections."""
    return [collection['Name'] for file in metafiles(root) for collection in file['Collections']]


def models(root: Path) -> list[dict]:
    """All recipes."""
    return [model for file in metafiles(root) for model in file['Models']]


def row(root: Path, model: dict, up: str) -> list[str]:
    """A recipe as lines of a list-table. Whether it was run here is what the config says."""
    facts, head = model['Metadata'], header((root / model['Config']).read_text())
    length = next(f'{facts[key]:,} {unit}' for key, unit in UNITS.items() if key in facts)
    hardware = re.split(r'(?<=[.;]) ', head['Hardware'])[0].rstrip('.;').replace(' Not run by us', '')
    expected = head['Expected']
    if 'the same README' in expected:
        expected = expected.replace('the same README', re.search(r'README of [\w/]+', head['Hardware'])[0])
    measured = re.search(r'(?<!not )measured by us', expected, re.IGNORECASE)
    cells = [
        f'[{model["Name"]}]({up}{model["Config"]})',
        f'{facts["Architecture"]}, {facts["Parameters"] / 1e6:,.1f} million parameters',
        f'{facts["Training Data"]}; {length} with {facts["Batch Size"]:,} images a step',
        hardware,
        expected if measured else f'{expected} *Not run here.*',
    ]
    return [f'{"* -" if number == 0 else "  -"} {cell}' for number, cell in enumerate(cells)]


def header(text: str) -> dict[str, str]:
    """``Command:``, ``Hardware:`` and ``Expected:`` in the comment that a config opens with, each in one line."""
    comment = re.match(r'(#[^\n]*\n)+', text)[0]
    entries = re.findall(r'^# (\w+): +(.*\n(?:#  +.*\n)*)', comment, flags=re.MULTILINE)
    return {name: ' '.join(re.sub(r'^#', '', value, flags=re.MULTILINE).split()) for name, value in entries}


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_directive('recipes', Recipes)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
