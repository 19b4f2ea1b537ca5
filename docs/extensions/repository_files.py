"""Links to files of the repository that are no pages: the site shows the file.

A link such as ``[the config](../configs/knn/knn_folder.py)`` works on GitHub as it is. In the site it leads to a page
with the text of the file. A path in code style, such as ``configs/knn/knn_folder.py``, becomes a link as well.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.md': 'markdown', '.toml': 'toml', '.cfg': 'ini'}
SHOWN = ('configs', 'dino_plugin', 'docs', 'tests', 'tools')  # where paths in code style may begin


class LinkRepositoryFiles(SphinxTransform):
    """Turns links to files and folders, and paths in code style, into links to pages that show them."""

    default_priority = 5

    def apply(self, **kwargs: object) -> None:
        """Sphinx calls it for each page."""
        for link in list(self.document.findall(addnodes.download_reference)):
            self.replace(link, self.file_of(link['reftarget']), link.children)
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link.get('reftype') == 'myst' and link.get('refdomain') is None:
                self.replace(link, self.file_of(link['reftarget']), link.children)
        for code in list(self.document.findall(nodes.literal)):
            if not isinstance(code.parent, nodes.reference | addnodes.pending_xref):
                self.replace(code, self.path_in_code(code.astext()), [code.deepcopy()])

    def file_of(self, target: str) -> Path | None:
        """The file or folder that a link means, if it is one of the repository."""
        path = Path(self.env.relfn2path(target.partition('#')[0], self.env.docname)[1])
        return path if path.exists() else None

    def path_in_code(self, text: str) -> Path | None:
        """The file that a path in code style means: from the repository, or from the folder of the page."""
        if '/' not in text or ' ' in text or text.startswith('/'):
            return None
        for folder in (self.env.srcdir, Path(self.env.doc2path(self.env.docname)).parent):
            path = Path(folder, text)
            if path.is_file() and path.relative_to(self.env.srcdir).parts[0] in SHOWN:
                return path
        return None

    def replace(self, node: nodes.Element, path: Path | None, children: list[nodes.Node]) -> None:
        """Puts a link to the page of a file in the place of a node."""
        if path is None:
            return
        if page := self.env.path2doc(path):
            meaning = dict(refdomain='doc', reftype='myst', reftarget=page, reftargetid=None)
            link = addnodes.pending_xref('', *children, **meaning, refdoc=self.env.docname, refexplicit=True)
        else:
            name = path.resolve().relative_to(Path(self.env.srcdir).resolve()).as_posix()
            self.env.metadata[self.env.docname].setdefault('repository_files', set()).add(name)
            uri = self.env.app.builder.get_relative_uri(self.env.docname, page_of(name))
            link = nodes.reference('', '', *children, refuri=uri, internal=True)
        node.replace_self(link)


def page_of(name: str) -> str:
    """The page that shows a file; names of files may end as those of pages do."""
    return f'files/{name}'


def pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """A page for each file that a page links to."""
    names = set().union(*(data.get('repository_files', ()) for data in app.env.metadata.values()))
    for name in sorted(names):
        path = Path(app.srcdir, name)
        if path.is_dir():
            inside = sorted(child.name + '/' * child.is_dir() for child in path.iterdir() if child.name[0] not in '._')
            body = ''.join(f'<li><code>{escape(child)}</code></li>' for child in inside)
            body = f'<ul>{body}</ul>'
        else:
            language = LANGUAGES.get(path.suffix, 'text')
            body = app.builder.highlighter.highlight_block(path.read_text(), language)
        body = f'<h1 class="file">{escape(name)}</h1>{body}'
        yield page_of(name), dict(title=name, body=body), 'page.html'


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_transform(LinkRepositoryFiles)
    app.connect('html-collect-pages', pages)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
