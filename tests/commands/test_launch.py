import argparse
import os
import re
import subprocess
import sys

import pytest

from dino_plugin.commands import launch
from dino_plugin.commands.command_line import add_launch_arguments, new_parser

CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
HALF_WRITTEN_CACHE = """
import threading
from pathlib import Path
from platformdirs import user_cache_dir
from importlib.metadata import version
import sys

cache = Path(user_cache_dir(appname='YAPF', appauthor='Google', version=version('yapf')))
cache.mkdir(parents=True)
for name in ('Grammar', 'PatternGrammar'):
    file = cache / f'{name}-py{".".join(map(str, sys.version_info))}.pickle'
    file.write_bytes(b'')
try:
    import yapf
    raise SystemExit('the cache is not where this test expects it')
except EOFError:
    pass
from dino_plugin.commands.command_line import import_yapf
threading.Timer(0.3, lambda: [file.unlink() for file in cache.iterdir()]).start()
import_yapf()
assert sys.modules['yapf'].yapf_api.FormatCode('x  = 1')[0] == 'x = 1\\n'
"""


def test_yapf_is_imported_although_another_process_has_written_half_of_its_cache(tmp_path):
    """Several processes of a first run on a new machine died here."""
    environment = dict(os.environ, XDG_CACHE_HOME=str(tmp_path))
    result = subprocess.run(
        [sys.executable, '-c', HALF_WRITTEN_CACHE], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_batch_norms_are_synchronised_only_where_pytorch_can(device, monkeypatch):
    for variable in ('RANK', 'LOCAL_RANK'):  # load_config would leave the latter set
        monkeypatch.setenv(variable, '0')
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    monkeypatch.setattr(launch, 'join_processes_on_cpu', lambda: None)
    parser = new_parser('')
    add_launch_arguments(parser)
    cfg = launch.load_config(
        parser.parse_args(['dino/dino_resnet50_8xb64-coslr-100e_in1k.py', '--launcher', 'pytorch'])
    )
    assert cfg.sync_bn == (None if device == 'cpu' else 'torch')


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ("model = dict(\n    type='A'\ntrain_cfg = 1\n", r'own\.py.*SyntaxError: .*line \d'),
        ('model = 1\nother = no_such_name\n', r"own\.py, line 2: NameError: name 'no_such_name'"),
        ("_base_ = './no_such_base.py'\n", r'FileNotFoundError: .*no_such_base\.py'),
    ],
)
def test_a_config_that_cannot_be_read_is_told_in_one_sentence(text, expected, tmp_path, capsys):
    own = tmp_path / 'own.py'
    own.write_text(text)
    with pytest.raises(SystemExit) as stop:
        launch.read_config(new_parser('').parse_args([str(own)]))
    said = capsys.readouterr().err
    assert stop.value.code == 2 and len(said.strip().splitlines()) == 1
    assert re.search(expected, said), said


def test_a_work_dir_that_cannot_be_made_is_told_with_the_option(tmp_path, monkeypatch, capsys):
    for variable in ('RANK', 'LOCAL_RANK'):  # load_config would leave the latter set
        monkeypatch.setenv(variable, '0')
    (tmp_path / 'file').touch()
    parser = new_parser('')
    add_launch_arguments(parser)
    with pytest.raises(SystemExit):
        launch.load_config(parser.parse_args([CUSTOM, '--work-dir', str(tmp_path / 'file/inside')]))
    assert re.search(r'file/inside cannot be written .* --work-dir DIR', capsys.readouterr().err)


@pytest.mark.parametrize('words', [['--work-dir=~/runs/a b'], ['--cfg-options', 'work_dir=~/runs/a b']])
def test_a_work_dir_may_begin_with_a_tilde(tmp_path, monkeypatch, words):
    for variable in ('RANK', 'LOCAL_RANK'):  # load_config would leave the latter set
        monkeypatch.setenv(variable, '0')
    monkeypatch.setenv('HOME', str(tmp_path))
    parser = new_parser('Test.')
    add_launch_arguments(parser)
    assert launch.load_config(parser.parse_args([CUSTOM, *words])).work_dir == f'{tmp_path}/runs/a b'
    assert (tmp_path / 'runs/a b').is_dir()


def test_a_trial_never_writes_into_the_folder_of_a_training(tmp_path, monkeypatch, capsys):
    for variable in ('RANK', 'LOCAL_RANK'):  # load_config would leave the latter set
        monkeypatch.setenv(variable, '0')
    parser = new_parser('')
    add_launch_arguments(parser)

    def work_dir(smoke):
        args = parser.parse_args([CUSTOM, '--work-dir', f'{tmp_path}/run/'])
        args.smoke = smoke
        return launch.load_config(args).work_dir

    assert work_dir(smoke=True) == f'{tmp_path}/run/'
    (tmp_path / 'run/epoch_1.pth').touch()
    assert work_dir(smoke=True) == f'{tmp_path}/run_smoke'
    assert f'the trial goes to {tmp_path}/run_smoke' in capsys.readouterr().err
    assert work_dir(smoke=False) == f'{tmp_path}/run/'


@pytest.mark.parametrize(('launcher', 'starter'), [('pytorch', 'torchrun'), ('slurm', 'srun')])
def test_a_launcher_that_started_nothing_is_named(launcher, starter, monkeypatch, capsys):
    for variable in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SystemExit):
        launch.load_config(argparse.Namespace(config=CUSTOM, launcher=launcher))
    said = capsys.readouterr().err
    assert f'--launcher {launcher} is for processes that {starter}' in said and 'for a single one leave it out' in said
