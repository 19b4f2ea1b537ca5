"""The documentation site: it builds without a warning, its links lead somewhere, its commands and names exist."""

import importlib.util
import re
import shlex
import subprocess
import sys
from copy import deepcopy
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from test_header_commands import CLASSES, is_read, python_command, shipped, tool

from dino_plugin.__main__ import SHORT
from dino_plugin.commands.command_line import option_values
from dino_plugin.commands.everyday_options import apply_train_options
from dino_plugin.commands.everyday_test_options import apply_test_options
from dino_plugin.engine.vocabulary import VOCABULARY
from dino_plugin.openmmlab.config_files import find_config

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / 'docs'
if not DOCS.is_dir():
    pytest.skip('docs/ belongs to a checkout, not to the installed package', allow_module_level=True)
PAGES = sorted([*DOCS.rglob('*.md'), *REPOSITORY.glob('configs/**/README.md'), REPOSITORY / 'README.md'])
PAGES = [page.relative_to(REPOSITORY).as_posix() for page in PAGES if '_build' not in page.parts]


def extension(name: str) -> ModuleType:
    """A module of docs/extensions, which Sphinx alone imports otherwise."""
    pytest.importorskip('sphinx', reason='the site needs dino_plugin[docs]')
    spec = importlib.util.spec_from_file_location(f'docs_{name}', DOCS / f'extensions/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the site ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """The site, built as tools/build_docs.sh does it: a warning is an error."""
    for package in ('sphinx', 'myst_nb', 'furo', 'sphinx_design', 'sphinx_copybutton'):
        pytest.importorskip(package, reason='the site needs dino_plugin[docs]')
    folder = tmp_path_factory.mktemp('site') / 'html'
    command = re.search(r'-m sphinx .*', (REPOSITORY / 'tools/build_docs.sh').read_text())[0]
    words = [folder if word == 'docs/_build/html' else word for word in shlex.split(command)]
    built = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


class Page(HTMLParser):
    """Names and links of a page, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.names |= {given[key] for key in ('id', 'name') if given.get(key)}
        if tag == 'a' and given.get('href'):
            self.links.append(given['href'])
        if tag in ('img', 'script', 'iframe', 'source') and given.get('src'):
            self.loads.append(given['src'])
        if tag == 'link' and given.get('rel') in ('stylesheet', 'icon', 'preload'):
            self.loads.append(given['href'])


@pytest.fixture(scope='module')
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob('*.html')}


def test_each_link_within_the_site_leads_to_a_page_and_a_place_on_it(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            place = unquote(url.fragment)
            if not target.is_file():
                broken.append(f'{path.name}: {link}')
            elif place and target in pages and place not in pages[target].names:
                broken.append(f'{path.name}: {link}: no such place')
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert broken == []


def test_the_site_loads_nothing_from_elsewhere(pages):
    loads = {file for page in pages.values() for file in page.loads}
    assert len(loads) > 10
    assert [file for file in loads if urlsplit(file).netloc] == []


def test_the_site_says_each_name_that_a_config_may_use(site):
    text = ''.join(path.read_text() for path in (site / 'docs/reference').glob('*.html'))
    said = set(re.findall(r"type='(dino_plugin\.\w+)'", unescape(text)))
    assert set(CLASSES) == said & set(CLASSES), sorted(set(CLASSES) - said)
    assert sum(len(names) for names in VOCABULARY.values()) == len(CLASSES)


def test_the_model_zoo_has_each_recipe_and_says_which_were_measured_here(site):
    text = (site / 'docs/model_zoo.html').read_text()
    for index in yaml.safe_load((REPOSITORY / 'model-index.yml').read_text())['Import']:
        for model in yaml.safe_load((REPOSITORY / index).read_text())['Models']:
            row = next(row for row in text.split('<tr') if f'>{model["Name"]}<' in row)
            header = re.match(r'(#[^\n]*\n)+', (REPOSITORY / model['Config']).read_text())[0]
            assert ('Not run here.' in row) != bool(re.search(r'Measured\s*\n?#?\s*by us', header)), model['Name']


def test_a_link_to_a_file_leads_to_a_page_that_shows_it(site):
    page = re.sub('<[^>]*>', '', (site / 'files/configs/knn/knn_folder.py.html').read_text())
    assert 'k-NN of frozen features on class folders of your own' in page
    assert 'files/configs/knn/knn_in1k.py.html' in (site / 'docs/evaluators/knn.html').read_text()


# --- what pages say ---------------------------------------------------------------------------------------------------


def commands(page: str) -> list[list[str]]:
    """The words of each command of ours in bash blocks, and in README's tables; blocks marked sh are patterns."""
    text = (REPOSITORY / page).read_text()
    blocks = re.findall(r'^```bash\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    cells = re.findall(r'`(dino-plugin (?!train CONFIG)[^`\[]*)', text)  # up to what is optional
    lines = '\n'.join([*blocks, *(cells if page == 'README.md' else [])]).replace('\\\n', ' ')
    lines = re.sub(
        r'^dino-plugin (\w+)', lambda word: f'python tools/{SHORT.get(word[1], word[1])}.py', lines, flags=re.M
    )
    ours = re.findall(r'^(?:[A-Z_]+=\S+ )*(?:python|bash) tools/.*', lines, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in ours]


WITH_COMMANDS = [page for page in PAGES if commands(page)]


@pytest.mark.parametrize('page', WITH_COMMANDS)
def test_each_command_of_a_page_is_what_its_tool_accepts(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in commands(page):
        if any(word in ('tools/build_docs.sh', 'tools/run_tests.sh', 'tools/test_matrix.sh') for word in words):
            continue
        (script, *arguments), _ = python_command(words)
        program = tool(Path(script).stem)
        if not hasattr(program, 'parse_args'):
            continue
        for word in arguments:  # files and folders of the reader exist
            if not word.startswith('-') and '=' not in word and not (REPOSITORY / word).exists():
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch() if Path(word).suffix else Path(word).mkdir(exist_ok=True)
                for part in ('train/a', 'val/a') if page == 'README.md' and word == 'DIR' else ():
                    (Path(word) / part).mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(sys, 'argv', [script, *arguments])
        args = program.parse_args()
        if getattr(args, 'config', 'auto') != 'auto':
            assert find_config(args.config).is_file()
            name = args.config.removeprefix('configs/')
            unread = [option for option, _ in args.cfg_options if not is_read(option, shipped(name))]
            assert unread == [], words
            args.checkpoint = 'none'  # the reader's file is empty
            apply = {'test': apply_test_options, 'train': apply_train_options}.get(Path(script).stem, lambda *_: None)
            apply(deepcopy(shipped(name)), args, option_values(args.cfg_options))  # refuses what the config cannot take


def test_the_commands_of_the_evaluators_are_among_them():
    assert {f'docs/evaluators/{name}.md' for name in ('knn', 'probes', 'video', 'scorecard')} <= set(WITH_COMMANDS)


@pytest.mark.parametrize('page', PAGES)
def test_each_path_in_code_style_exists(page):
    text = re.sub(r'```.*?```', '', (REPOSITORY / page).read_text(), flags=re.DOTALL)
    paths = re.findall(r'`((?:configs|dino_plugin|docs|tests|tools)/[\w./-]+\.(?:py|md|sh|yml))`', text)
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


# --- from other projects ----------------------------------------------------------------------------------------------

KNOWN = {
    'facebookresearch/dino': 'dino/dino_vit-small-p16_16xb64-coslr-800e_in1k.py',
    'facebookresearch/dinov2 and dinov3': 'dinov2/dinov2_vit-large-p14_96xb32-long-625k_in22k.py',
}


def names_here() -> list[tuple[str, str]]:
    """Project and name for each name of ours in the right columns of the tables."""
    found = []
    for section in (DOCS / 'from_other_projects.md').read_text().split('\n## ')[1:]:
        project = section.splitlines()[0]
        for row in re.findall(r'^\| [^\n]* \| ([^\n|]*) \|$', section, flags=re.MULTILINE):
            found += [(project, name) for name in re.findall(r'`([^`]+)`', row)]
    return found


def test_the_tables_of_other_projects_have_names_of_each_kind():
    names = [name for _, name in names_here()]
    assert sum(name.startswith('--') for name in names) > 20
    assert sum(name.startswith('dino_plugin.') for name in names) > 15
    assert sum(name.startswith(('model.', 'optim_wrapper.', 'param_scheduler.')) for name in names) > 25


@pytest.mark.parametrize(('project', 'name'), [pair for pair in names_here() if re.match(r'[\w/.-]+$', pair[1])])
def test_a_name_for_users_of_another_project_exists(project, name, monkeypatch, capsys):
    if name.startswith('--'):
        monkeypatch.setattr(sys, 'argv', ['tools/train.py', '--help'])
        with pytest.raises(SystemExit):
            tool('train').parse_args()
        assert re.search(rf'{name}\b', capsys.readouterr().out)
    elif '/' in name:
        assert (REPOSITORY / name).is_file()
    elif name in CLASSES or name in ('dino_plugin.', 'module', 'parameter', 'sqrt', 'weight', 'refresh'):
        pass
    elif name.startswith('dino_plugin.'):
        module, _, thing = name.rpartition('.')
        assert hasattr(importlib.import_module(module), thing)
    elif '.' in name:
        assert is_read(name, shipped(KNOWN.get(project, KNOWN['facebookresearch/dino'])))


# --- how it is made ---------------------------------------------------------------------------------------------------


def test_an_equation_in_a_docstring_keeps_its_lines():
    lines = ['What it is.', '', 'a = b', 'c <- d', '', 'Text with x = y.', '', 'Args:', '    a: A number = 1.']
    extension('equations').keep_lines(None, 'class', 'X', None, None, lines)
    assert lines[2:6] == ['.. code-block:: text', '', '    a = b', '    c <- d']
    assert lines[6:] == ['', 'Text with x = y.', '', 'Args:', '    a: A number = 1.']


def test_a_header_gives_its_entries_in_one_line_each():
    text = (
        '# What.\n#\n# Command:  a\n# Hardware: 8 GPUs.\n#           Not run by us.\n# Expected: 69.3 %\n#\n# More: 1\n'
    )
    found = extension('recipes').header(text)
    assert (found['Hardware'], found['Expected']) == ('8 GPUs. Not run by us.', '69.3 %')


def test_the_picture_of_a_method_has_its_losses_and_dashed_targets():
    flow = extension('data_flow').flow_of
    dino = flow(shipped('dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'))
    gram = flow(shipped('dinov3/dinov3_vit-large-p16_64xb64-gram-200k_folder.py'))
    simple = flow(shipped('simdino/simdino_vit-base-p16_8xb64-coslr-100e_in1k.py'))
    assert re.findall(r'\w+Loss', dino) == ['DINOLoss']
    assert re.findall(r'\w+Loss', simple) == ['AlignmentLoss', 'CodingRateLoss']
    assert re.findall(r'\w+Loss', gram) == ['DINOLoss', 'IBOTPatchLoss', 'KoLeoLoss', 'GramLoss']
    assert (dino.count('dashed'), simple.count('dashed'), gram.count('dashed')) == (
        1,
        2,
        3,
    )  # KoLeo has no target; the anchor gives one
    assert '>masked<' not in dino and '>masked<' in gram


def test_the_rooms_stand_above_those_that_they_import_from():
    page = (DOCS / 'design.md').read_text()
    diagram = page.split('```mermaid\n')[1].split('```')[0]
    html = extension('rooms_picture').rooms_as_html(diagram)
    places = {room: html.index(f'<b>{room}</b>') for room in re.findall(r'<b>(\w+)</b>', html)}
    arrows = re.findall(r'^    (\w+) --> (\w+)$', diagram, flags=re.MULTILINE)
    assert len(arrows) > 10 and all(places[above] < places[below] for above, below in arrows)
