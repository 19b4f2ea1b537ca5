"""The walls of the house: who may import whom."""

import ast
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

PACKAGE = Path(__file__).parents[1] / 'dino_plugin'


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ''


@pytest.mark.parametrize('path', sorted((PACKAGE / 'core').rglob('*.py')), ids=lambda path: path.stem)
def test_core_imports_torch_jaxtyping_the_standard_library_and_itself(path):
    allowed = sys.stdlib_module_names | {'torch', 'jaxtyping'}
    for name in imports_of(path):
        assert name.split('.')[0] in allowed or name.startswith('dino_plugin.core'), name


def test_only_reduce_and_sharding_talk_to_other_processes():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob('*.py')
        if any(name.startswith('torch.distributed') for name in imports_of(path))
    }
    sharding = {path for path in users if path.startswith('engine/distributed/')}
    assert users - sharding == {'core/reduce.py'}


def test_registries_are_filled_in_the_vocabulary_alone():
    for path in PACKAGE.rglob('*.py'):
        if path.name not in ('vocabulary.py', 'late_transformers.py'):  # the second has a name of mmengine's
            assert 'register_module' not in path.read_text(encoding='utf8'), path


def test_lightly_is_never_imported_by_name():
    """Its users are served through contracts; the one adapter that needs it imports it when called."""
    for path in PACKAGE.rglob('*.py'):
        tree = ast.parse(path.read_text(encoding='utf8'))
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, 'module', '') or '']
                assert not any(name.split('.')[0] == 'lightly' for name in names), path


def test_no_room_imports_from_a_room_above_it(repository):
    """The layers stand in pyproject.toml, every room among them."""
    status = lint_imports(config_filename=str(repository / 'pyproject.toml'), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS


def test_the_picture_in_the_docs_is_the_house_as_it_is(repository, monkeypatch):
    page = repository / 'docs/design.md'
    if not page.is_file():
        pytest.skip('docs/ belongs to a checkout, not to the installed package')
    monkeypatch.syspath_prepend(page.parent)
    import draw_rooms

    assert draw_rooms.drawn(page.read_text()) == page.read_text(), 'run: python docs/draw_rooms.py'
