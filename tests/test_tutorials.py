"""The tutorials name what exists: programs, options, configs, imports, files, pictures."""

import ast
import importlib
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from PIL import Image

from dino_plugin.__main__ import SHORT
from dino_plugin.engine.training.hooks.guard import ORDER, GuardHook
from dino_plugin.openmmlab.config_files import config_path

REPOSITORY = Path(__file__).resolve().parents[1]
if not (REPOSITORY / 'docs').is_dir():
    pytest.skip('docs/ belongs to a checkout, not to the installed package', allow_module_level=True)
PAGES = sorted((REPOSITORY / 'docs/tutorials').glob('[0-9]_*.md'))
CELL = re.compile(r'^```\{code-cell\} ipython3\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)


def cells(page: Path) -> list[str]:
    return CELL.findall(page.read_text())


def written(page: Path) -> dict[str, str]:
    """Files that the page writes, by name."""
    found = [cell.split('\n', 1) for cell in cells(page) if cell.startswith('%%writefile ')]
    return {first.split()[1]: code for first, code in found}


def python_of(page: Path) -> list[str]:
    return [*written(page).values(), *(cell for cell in cells(page) if not cell.startswith('%%'))]


def commands(page: Path) -> list[list[str]]:
    """The words of each command, in cells and in the text."""
    lines = [line for cell in cells(page) if cell.startswith('%%bash\n')
             for line in cell.removeprefix('%%bash\n').replace('\\\n', ' ').splitlines()]  # fmt: skip
    lines += re.findall(r'`((?:\w+=\S+ )*(?:dino-plugin|torchrun|bash) [^`]*)`', CELL.sub('', page.read_text()))
    return [shlex.split(line) for line in lines]


@cache
def options_of(program: Path) -> set[str]:
    found = subprocess.run([sys.executable, program, '--help'], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r'(?<![\w-])--[a-z][\w-]*', found))


def is_placeholder(word: str) -> bool:
    return word.removesuffix('.py').isupper()


def test_the_tutorials_are_there():
    assert len(PAGES) == 7 and all(len(cells(page)) > 0 for page in PAGES)


@each_page
def test_each_program_has_each_option_and_each_config_is_there(page):
    programs = 0
    for words in commands(page):
        if 'dino-plugin' in words:
            rest = words[words.index('dino-plugin') + 1 :]
        elif 'dino_plugin' in words:  # torchrun ... -m dino_plugin
            rest = words[words.index('dino_plugin') + 1 :]
        else:
            assert 'torchrun' not in words, words
            for word in words:
                assert not word.startswith('tools/') or (REPOSITORY / word).is_file(), word
            continue
        if is_placeholder(rest[0]):
            continue
        program = REPOSITORY / f'tools/{SHORT.get(rest[0], rest[0])}.py'
        assert program.is_file(), words
        programs += 1
        assert {word for word in rest if word.startswith('--')} <= options_of(program), words
        if rest[0] in ('train', 'test') and rest[1] not in ('auto', *written(page)) and not is_placeholder(rest[1]):
            assert config_path(rest[1]).is_file(), words
    assert programs > 0


@each_page
def test_each_file_of_the_checkout_is_there(page):
    names = set(re.findall(r'tests/data/[\w/.-]+', page.read_text()))
    assert [name for name in names if not (REPOSITORY / name.rstrip('.')).exists()] == []


@each_page
def test_each_cell_of_python_parses_and_each_name_of_ours_that_it_imports_exists(page):
    for code in python_of(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.split('.')[0] == 'dino_plugin':
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == [], code
        for base in re.findall(r"'dino_plugin::([^']+)'", code):
            assert config_path(base).is_file(), base


@each_page
def test_each_picture_is_shown_small_and_renewed_by_a_run(page):
    text = page.read_text()
    shown = re.findall(r'!\[[^\]]+\]\(\.\./images/tutorials/([^)]+)\)', text)
    assert sorted(shown) == sorted(yaml.safe_load(text.split('---\n')[1]).get('pictures', {}))
    for name in shown:
        file = REPOSITORY / 'docs/images/tutorials' / name
        assert file.stat().st_size <= 100_000
        assert max(Image.open(file).size) <= 900


def test_what_decides_is_named_with_the_argument_of_the_guard_that_brings_the_data():
    text = (REPOSITORY / 'docs/tutorials/7_go_on.md').read_text()
    set_by_hand = re.findall(r"custom_hooks\.3\.(\w+)=(?:'([^']+)'|([\w.]+))", text)
    recipe = Config.fromfile(config_path(re.search(r'dino-plugin train (\S+/\S+\.py)', text)[1]))
    assert recipe.custom_hooks[3].type == 'dino_plugin.GuardHook'
    for name, *value in set_by_hand:
        GuardHook(**{name: ''.join(value)})  # it knows the argument
    assert {name for name, *_ in set_by_hand} == {'class_masks', 'pairs', 'watch'}
    assert {quoted for name, quoted, _ in set_by_hand if name == 'watch'} <= set(ORDER)


@each_page
def test_a_tutorial_is_short(page):
    assert 40 <= len(page.read_text().splitlines()) <= 90


def test_a_kept_picture_is_small_enough_for_a_page(tmp_path, monkeypatch):
    pytest.importorskip('myst_nb', reason='belongs to the extra docs')
    monkeypatch.syspath_prepend(str(REPOSITORY / 'docs'))
    from run_tutorials import LARGEST, keep

    Image.effect_noise((1500, 700), 60).save(tmp_path / 'large.png')
    keep(tmp_path / 'large.png', tmp_path / 'pages/small.jpg')
    with Image.open(tmp_path / 'pages/small.jpg') as kept:
        assert kept.size == (900, 420) and kept.mode == 'RGB'
    assert (tmp_path / 'pages/small.jpg').stat().st_size <= LARGEST
