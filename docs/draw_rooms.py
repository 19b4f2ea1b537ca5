"""Draw the rooms of the package and their imports into docs/design.md: python docs/draw_rooms.py

An arrow means "imports from". An arrow that follows from others (commands -> engine -> core, so commands -> core) is
left out. The rooms stand in pyproject.toml, where `lint-imports` reads who may import whom.
"""

import ast
from pathlib import Path

import grimp

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / 'design.md'
PACKAGE = DOCS.parent / 'dino_plugin'
BEGIN, END = '```mermaid\n', '```\n'
OPENED = ('data', 'engine', 'evaluation')  # rooms whose own rooms are drawn, too
LEFT_OUT = ('__main__',)


def diagram() -> str:
    """The rooms in Mermaid's language, which GitHub draws."""
    graph = grimp.build_graph('dino_plugin', cache_dir=None)
    lines = ['flowchart TD']
    rooms = [room for room in children(graph, 'dino_plugin') if room not in LEFT_OUT]
    for room in rooms:
        inner = children(graph, f'dino_plugin.{room}') if room in OPENED else []
        if not inner:
            lines.append(f'    {room}["<b>{room}</b><br/>{purpose(room)}"]')
            continue
        lines.append(f'    subgraph {room}["<b>{room}</b>: {purpose(room)}"]')
        lines += [f'        {room}_{name}["{name}"]' for name in inner]
        lines += [f'        {room}_{a} --> {room}_{b}' for a, b in arrows(graph, f'dino_plugin.{room}', inner)]
        lines.append('    end')
    lines += [f'    {a} --> {b}' for a, b in arrows(graph, 'dino_plugin', rooms)]
    return '\n'.join(lines) + '\n'


def children(graph: grimp.ImportGraph, module: str) -> list[str]:
    """Names of the modules and packages directly below a package."""
    return sorted(child.rpartition('.')[2] for child in graph.find_children(module))


def arrows(graph: grimp.ImportGraph, package: str, rooms: list[str]) -> list[tuple[str, str]]:
    """Pairs of rooms of which the first imports from the second, without those that follow from others."""
    below = {
        room: {
            other
            for other in rooms
            if other != room
            and graph.find_shortest_chain(f'{package}.{room}', f'{package}.{other}', as_packages=True) is not None
        }
        for room in rooms
    }
    return [(a, b) for a in rooms for b in sorted(below[a]) if not any(b in below[c] for c in below[a])]


def purpose(room: str) -> str:
    """The first sentence of a room's docstring."""
    file = PACKAGE / room / '__init__.py'
    text = ast.get_docstring(ast.parse((file if file.is_file() else PACKAGE / f'{room}.py').read_text()))
    return text.splitlines()[0].rstrip('.').replace('"', "'").replace('``', '')


def drawn(page: str) -> str:
    """The page with the diagram as it is now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + diagram() + END + rest.partition(END)[2]


if __name__ == '__main__':
    PAGE.write_text(drawn(PAGE.read_text()))
    print(PAGE)
