"""The rooms of the package as rows of boxes, in place of the Mermaid diagram of docs/design.md.

GitHub draws Mermaid; a site would load a script from elsewhere for it. The diagram stays the only source.
"""

import re
from html import escape

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class RoomsPicture(Directive):
    """Each room stands in a row above all rooms that it imports from."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture as HTML, which takes the colours of the page."""
        return [nodes.raw('', rooms_as_html('\n'.join(self.content)), format='html')]


def rooms_as_html(diagram: str) -> str:
    """Rows of boxes, the rooms that import most at the top."""
    purposes = dict(re.findall(r'^    (?:subgraph )?(\w+)\["<b>\w+</b>(?:<br/>|: )(.*)"\]$', diagram, re.MULTILINE))
    inner = re.findall(r'^        (\w+?)_(\w+)\["', diagram, re.MULTILINE)
    arrows = re.findall(r'^    (\w+) --> (\w+)$', diagram, re.MULTILINE)
    if not purposes or not arrows:
        raise ValueError('The diagram of the rooms has another form: see docs/draw_rooms.py.')
    rows: dict[int, str] = {}
    for room, purpose in purposes.items():
        tags = ''.join(f'<code>{name}</code> ' for owner, name in inner if owner == room)
        box = f'<div class="room"><b>{room}</b><span>{escape(purpose, quote=False)}</span>{tags}</div>'
        rows[height(room, arrows)] = rows.get(height(room, arrows), '') + box
    return '<div class="rooms">' + ''.join(f'<div>{rows[row]}</div>' for row in sorted(rows, reverse=True)) + '</div>'


def height(room: str, arrows: list[tuple[str, str]]) -> int:
    """The number of rooms on the longest way down."""
    return max((1 + height(below, arrows) for above, below in arrows if above == room), default=0)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it; MyST hands it blocks of ```mermaid."""
    app.add_directive('mermaid', RoomsPicture)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
