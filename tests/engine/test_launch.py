import argparse
import os
import subprocess
import sys

import pytest

from dino_plugin.engine import launch

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
from dino_plugin.engine.launch import import_yapf
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
    monkeypatch.setenv('LOCAL_RANK', '0')  # load_config would leave it set
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    monkeypatch.setattr(launch, 'join_processes_on_cpu', lambda: None)
    parser = argparse.ArgumentParser()
    launch.add_arguments(parser)
    cfg = launch.load_config(
        parser.parse_args(['dino/dino_resnet50_8xb64-coslr-100e_in1k.py', '--launcher', 'pytorch'])
    )
    assert cfg.sync_bn == (None if device == 'cpu' else 'torch')
