"""Every name that a config may use, and the functions of the package itself, with signatures and docstrings.

``.. names:: core`` shows what ``engine/vocabulary.py`` lists and a room of the package defines, ``.. calls::`` what
``import dino_plugin`` offers. The pages are reStructuredText, as docstrings are.
"""

import inspect
from functools import cache

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Names(SphinxDirective):
    """Documents each name of some rooms, by autodoc."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Sphinx calls it where the page has the directive."""
        rooms = [f'dino_plugin.{room}.' for room in self.arguments[0].split()]
        lines: list[str] = []
        for _, _, thing in vocabulary():
            if not any(f'{thing.__module__}.'.startswith(room) for room in rooms):
                continue
            kind = 'autoclass' if inspect.isclass(thing) else 'autofunction'
            lines += [f'.. {kind}:: {thing.__module__}.{thing.__qualname__}', '']
        if not lines:
            raise self.error(f'No name of the vocabulary lives in {rooms}.')
        return parsed(self, lines)


class Calls(SphinxDirective):
    """Documents the functions in ``dino_plugin.__all__``, by autodoc."""

    def run(self) -> list[nodes.Node]:
        """Sphinx calls it where the page has the directive."""
        import dino_plugin

        names = [name for name in sorted(dino_plugin.__all__) if callable(getattr(dino_plugin, name))]
        return parsed(self, [f'.. autofunction:: dino_plugin.{name}' for name in names])


def parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    """Lines of reStructuredText as nodes of the page."""
    section = nodes.section()
    section.document = directive.state.document
    source = StringList(lines, source=directive.env.docname)
    directive.state.nested_parse(source, directive.content_offset, section)
    return section.children


@cache
def vocabulary() -> list[tuple[str, str, object]]:
    """Registry, name in configs, class or function; sorted by module and name."""
    from dino_plugin.engine.vocabulary import VOCABULARY

    entries = [
        (registry.name, *(entry if isinstance(entry, tuple) else (entry, entry.__name__)))
        for registry, things in VOCABULARY.items()
        for entry in things
    ]
    return sorted(
        ((registry, name, thing) for registry, thing, name in entries),
        key=lambda entry: (entry[2].__module__, entry[1]),
    )


def say_name(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Puts the name in configs before a docstring; Sphinx calls it for each."""
    for registry, given, thing in vocabulary():
        if thing is obj and what in ('class', 'function'):
            lines[:0] = [f"``type='dino_plugin.{given}'`` ({registry})", '']


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_directive('names', Names)
    app.add_directive('calls', Calls)
    app.connect('autodoc-process-docstring', say_name, priority=600)  # after napoleon
    return dict(parallel_read_safe=True, parallel_write_safe=True)
