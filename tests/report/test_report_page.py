"""The page is one file that loads nothing, runs only its own scripts, and shows text of runs as text."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_runs import write_picture, write_run

from dino_plugin.report.page import write_page

HOSTILE = '<script>alert(1)<!--'
ENDING = '</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """Elements with their attributes, and the texts of scripts, as a browser reads them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[list[str]] = []  # of the elements
        self._inside = False
        self.text = path.read_text(encoding='utf8')
        self.feed(self.text)
        pairs = [(tag, attributes, ''.join(text)) for (tag, attributes), text in zip(self.elements, self.texts)]
        self.title = next(text for tag, _, text in pairs if tag == 'title')
        self.scripts = [(attributes, text) for tag, attributes, text in pairs if tag == 'script']

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append([])
        self._inside = True

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.texts[-1].append(data)

    @property
    def content(self) -> dict:
        return json.loads(next(text for attributes, text in self.scripts if attributes.get('id') == 'content'))

    @property
    def policy(self) -> dict[str, list[str]]:
        text = next(attributes['content'] for _, attributes in self.elements if 'http-equiv' in attributes)
        return {words[0]: words[1:] for words in map(str.split, text.split(';'))}


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Page:
    folder = tmp_path_factory.mktemp('page')
    write_picture(write_run(folder / 'run') / 'views.png')
    return Page(write_page([folder / 'run'], folder / 'made/report.html'))


def test_the_page_names_no_address_but_its_own_data(page):
    for tag, attributes in page.elements:
        for name in ('src', 'href', 'srcset', 'action', 'data', 'poster'):
            assert attributes.get(name, '#').startswith(('#', 'data:')), (tag, attributes)
    style = page.text[page.text.index('<style>') : page.text.index('</style>')]
    assert 'url(' not in style
    assert '@import' not in style
    sources = [part['frames'][0]['source'] for one in page.content['pictures'] for part in one['parts']]
    assert sources and all(source.startswith('data:image/webp;base64,') for source in sources)


def test_a_browser_is_told_to_load_nothing_and_to_run_the_pages_own_scripts_alone(page):
    policy = page.policy
    assert policy['default-src'] == ["'none'"]
    assert set(policy) == {'default-src', 'style-src', 'img-src', 'base-uri', 'form-action', 'script-src'}
    assert policy['img-src'] == ['data:', 'blob:']
    run = [text for attributes, text in page.scripts if attributes.get('type') != 'application/json']
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run]
    assert policy['script-src'] == hashes
    assert len(hashes) == 2, 'plotly and the page'


def test_the_page_has_the_runs_numbers(page):
    content = page.content
    assert content['title'] == page.title == 'run'
    assert [run['state'] for run in content['runs']] == ['ended']
    curve = next(panel for panel in content['panels'] if panel['name'] == 'knn/top1_k20')['curves'][0]
    values = memoryview(base64.b64decode(curve['y'])).cast('f').tolist()
    steps = memoryview(base64.b64decode(curve['x'])).cast('f').tolist()
    assert (steps, values) == ([0.0, 20.0], [30.0, 42.5])


def test_texts_of_a_run_cannot_leave_their_place(tmp_path):
    folder = write_run(tmp_path / '<img src=x onerror=alert(1)>', warnings=(('WARNING', HOSTILE + ENDING),))
    data = folder / '20260101_100000/vis_data'
    (data / 'config.py').write_text(f'a = {HOSTILE + ENDING!r}\n# {ENDING}\n')
    (data / 'scalars.json').write_text(json.dumps({f'loss{ENDING}': 1.0, 'step': 1}) + '\n')
    (folder / 'scorecard.json').write_text(json.dumps(dict(measures={ENDING: {HOSTILE: ENDING}})))
    plain = write_run(tmp_path / 'plain')
    hostile = Page(write_page([folder, plain], tmp_path / 'hostile.html'))
    harmless = Page(write_page([plain], tmp_path / 'plain.html'))
    tags = [tag for tag, _ in hostile.elements]
    assert tags == [tag for tag, _ in harmless.elements], 'no element comes from a text'
    assert hostile.policy == harmless.policy
    assert hostile.title == '<img src=x onerror=alert(1)> and plain'
    run = hostile.content['runs'][0]
    assert run['warnings'][0]['text'] == HOSTILE + ENDING
    assert ENDING in run['config']
    assert hostile.content['scorecards'][0]['rows'] == [[HOSTILE, ENDING]]
    assert hostile.content['differences']['a'][0] == repr(HOSTILE + ENDING)


def test_the_script_never_makes_html_of_a_text(repository):
    script = (repository / 'dino_plugin/report/template/page.js').read_text()
    words = r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc'
    assert not re.search(words, script)


def test_an_empty_folder_has_a_page_that_says_what_was_expected(tmp_path):
    (tmp_path / 'nothing').mkdir()
    content = Page(write_page([tmp_path / 'nothing'], tmp_path / 'out.html')).content
    assert (content['runs'], content['panels'], content['given']) == ([], [], [str(tmp_path / 'nothing')])


def test_a_name_that_is_no_text_does_not_spoil_the_page(tmp_path):
    folder = write_run(tmp_path / os.fsdecode(b'na\xffme'))
    (folder / '20260101_100000/vis_data/scalars.json').write_text('{"a\\ud800": 1.0, "step": 1}\n')
    written = Page(write_page([folder], tmp_path / 'out.html'))
    assert written.title == 'na?me'
    assert [panel['name'] for panel in written.content['panels']] == ['a\ud800']


def test_a_damaged_picture_does_not_spoil_the_page(tmp_path):
    folder = write_run(tmp_path / 'run')
    (folder / 'views.png').write_bytes(b'half a pic')
    write_picture(folder / 'features.png')
    content = Page(write_page([folder], tmp_path / 'out.html')).content
    assert [one['name'] for one in content['pictures']] == ['features']


def test_the_program_writes_the_page_and_answers_mistakes_in_one_line(repository, tmp_path):
    write_run(tmp_path / 'run')
    program = [sys.executable, str(repository / 'tools/report.py')]
    done = subprocess.run([*program, 'run', '--out', 'a/b.html'], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, 'a/b.html'), done.stderr
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['b.html'], 'nothing half-written is left'
    assert Page(tmp_path / 'a/b.html').content['runs'][0]['name'] == 'run'
    failed = subprocess.run([*program, 'missing'], cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 2
    assert 'missing does not exist' in failed.stderr


def test_making_a_page_needs_neither_torch_nor_matplotlib():
    script = 'import sys; import dino_plugin.report.server; print({"torch", "matplotlib"} & sys.modules.keys())'
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert run.stdout.strip() == 'set()', run.stderr
