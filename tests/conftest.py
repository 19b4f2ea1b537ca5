"""What all tests share: one thread each, no window system, no network."""

import gc
import os
import signal
import sys
from itertools import count
from pathlib import Path

os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import cv2
import pytest
import torch
from fresh_process import leave_configs_unformatted
from mmengine.config import config as mmengine_config
from mmengine.logging import MMLogger
from terminal_screen import TerminalScreen
from yapf.yapflib import yapf_api

from dino_plugin.evaluation import progress

REPOSITORY = Path(__file__).resolve().parents[1]

LONGEST = ('test_end_to_end.py', 'test_segmentation.py', 'test_configs.py')  # the longest one first

_NUMBERS = count()

torch.set_num_threads(1)
cv2.setNumThreads(0)


# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would all programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist 3.7 would put the files with the most tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, lest one process waits for the other one's at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """mmengine runs the garbage collector for every dataset; what was imported until now is no garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs() -> None:
    leave_configs_unformatted()
    if hasattr(mmengine_config, 'FormatCode'):  # older versions have imported it by its name
        mmengine_config.FormatCode = yapf_api.FormatCode


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Features are kept in a folder of this run, not in the user's."""
    os.environ['DINO_PLUGIN_CACHE'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='session')
def repository() -> Path:
    """The checkout under test."""
    return REPOSITORY


@pytest.fixture
def log(tmp_path_factory, request):
    """The text that was logged, by this process and by its workers."""
    file = tmp_path_factory.mktemp('log') / 'run.log'
    MMLogger.get_instance(request.node.name, log_file=str(file))
    yield file.read_text
    MMLogger._instance_dict.pop(request.node.name)


@pytest.fixture
def terminal(monkeypatch):
    """Opens a terminal of so many columns on which this process writes: its output, errors and log.

    Bars are drawn at each step there.
    """
    opened = []

    def open_one(columns: int = 100, **env: str) -> TerminalScreen:
        for name in ('NO_COLOR', 'FORCE_COLOR', 'TTY_COMPATIBLE', 'TTY_INTERACTIVE'):
            monkeypatch.delenv(name, raising=False)
        for name, value in (dict(TERM='xterm-256color', COLUMNS=str(columns)) | env).items():
            monkeypatch.setenv(name, value)
        screen = TerminalScreen(columns)
        opened.append(screen)
        monkeypatch.setattr(sys, 'stdout', screen.file)
        monkeypatch.setattr(sys, 'stderr', screen.file)
        monkeypatch.setattr(progress, '_BARS', 0)
        MMLogger.get_instance(f'terminal_{next(_NUMBERS)}')  # the id of a screen may be that of an earlier one
        return screen

    yield open_one
    progress._close()
    for screen in opened:
        screen.close()


@pytest.fixture(scope='session')
def twelve_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twelve of the bundled photographs, in no class folders."""
    folder = tmp_path_factory.mktemp('twelve_images')
    photographs = sorted((REPOSITORY / 'tests/data/cifar10_mini/test').rglob('*.jpg'))
    for path in photographs[:: len(photographs) // 12][:12]:
        (folder / f'{path.parent.name}_{path.name}').write_bytes(path.read_bytes())
    assert len(list(folder.iterdir())) == 12
    return folder
