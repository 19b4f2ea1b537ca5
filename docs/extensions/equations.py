"""Equations in docstrings: a paragraph that begins with ``name = ...`` or ``name <- ...`` keeps its lines."""

import re

from sphinx.application import Sphinx

EQUATION = re.compile(r'^\w+(\[[^\]]*\]|\([^)]*\))? (=|<-) ')


def keep_lines(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Makes a literal block of each equation; Sphinx calls it for each docstring."""
    paragraphs = re.split(r'\n\n+', '\n'.join(lines))
    for number, paragraph in enumerate(paragraphs):
        if EQUATION.match(paragraph):
            paragraphs[number] = '.. code-block:: text\n\n' + re.sub('^', '    ', paragraph, flags=re.MULTILINE)
    lines[:] = '\n\n'.join(paragraphs).split('\n')


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it; before napoleon (priority 500), which reads the sections after the equations."""
    app.connect('autodoc-process-docstring', keep_lines, priority=400)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
