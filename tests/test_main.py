"""The commands of an installed package."""

import subprocess
import sys
from pathlib import Path

import pytest

import dino_plugin
from dino_plugin.__main__ import SHORT
from dino_plugin.commands.command_line import program


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'dino_plugin', *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize('name', ['export', 'export_backbone'])
def test_a_program_of_the_package_runs_by_its_name_from_any_folder(name, tmp_path, repository):
    done = run(name, '--help', cwd=tmp_path)
    alone = [sys.executable, str(repository / 'tools/export_backbone.py'), '--help']
    directly = subprocess.run(alone, capture_output=True, text=True).stdout
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'usage: dino-plugin {name} ')
    assert ' '.join(done.stdout.split()[3:]) == ' '.join(directly.split()[2:]) != ''


def test_errors_and_questions_name_the_program_as_it_was_called(tmp_path):
    assert 'dino-plugin export: error:' in run('export', '--nothing', cwd=tmp_path).stderr
    assert run('--version', cwd=tmp_path).stdout == f'dino_plugin {dino_plugin.__version__}\n'


def test_the_command_that_goes_on_is_the_one_that_was_typed(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['dino-plugin train', 'mine.py'])
    assert program() == ['dino-plugin', 'train']
    monkeypatch.setattr(sys, 'argv', ['my tools/train.py', 'mine.py'])
    assert program() == ['python', 'my tools/train.py']


def test_help_has_a_line_for_each_program_and_each_short_word_is_one(tmp_path, repository):
    lines = run('--help', cwd=tmp_path).stdout.splitlines()
    files = {path.stem for path in (repository / 'tools').glob('*.py')}
    assert set(SHORT.values()) <= files
    assert not set(SHORT) & files
    for word in {*SHORT, *files} - set(SHORT.values()):
        assert sum(line.startswith(f'  {word} ') for line in lines) == 1, word


def test_another_program_runs_as_if_it_were_started_alone_and_knows_our_configs(tmp_path):
    (tmp_path / 'beside.py').write_text('value = 7\n')
    (tmp_path / 'own.py').write_text("_base_ = 'dino_plugin::_base_/schedules/adamw_coslr_100e.py'\n")
    (tmp_path / 'program.py').write_text(
        'import sys\n'
        'from mmengine.config import Config\n'
        'from beside import value\n'
        "if __name__ == '__main__':\n"
        '    print(value, sys.argv[1:], Config.fromfile(sys.argv[1]).train_cfg.max_epochs)\n'
    )
    done = run('program.py', 'own.py', '--flag', cwd=tmp_path)
    assert done.stdout == "7 ['own.py', '--flag'] 100\n", done.stderr


@pytest.mark.parametrize('name', ['trian', ''])
def test_an_unknown_program_is_answered_with_the_list(name, tmp_path, repository):
    done = run(*([name] if name else []), cwd=tmp_path)
    assert done.returncode == 2
    assert f'no program {name!r}' in done.stderr
    assert all(path.stem in done.stderr for path in (repository / 'tools').glob('*.py'))
