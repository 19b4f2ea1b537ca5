"""The program and its page."""

import runpy
import signal
import sys

import cv2
import numpy as np
import pytest

from dino_plugin.doctor.findings import Finding, as_markdown, as_text, worst_first
from dino_plugin.doctor.hook import _end_at_once_when_asked
from dino_plugin.doctor.page import page_of


def test_the_worst_comes_first_with_its_remedy():
    found = [Finding('ok', 'a', 'x'), Finding('fault', 'b', 'y', 'cure'), Finding('notice', 'c', 'z', 'hint')]
    assert [finding.subject for finding in worst_first(found)] == ['b', 'c', 'a']
    assert as_text(found).splitlines() == [
        'fault    b: y', '         -> cure', 'notice   c: z', '         -> hint', 'ok       a: x'
    ]  # fmt: skip
    assert as_markdown(found).splitlines()[2] == '| fault | b | y | cure |'


@pytest.mark.usefixtures('own_handlers')
def test_the_program_examines_a_recipe_and_touches_nothing(tmp_path, repository, monkeypatch, capsys):
    images = tmp_path / 'black'
    images.mkdir()
    for number in range(40):
        cv2.imwrite(str(images / f'{number}.png'), np.full((32, 32, 3), 3, np.uint8))
    small = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    head = dict(prototypes=32, hidden_dim=32, bottleneck_dim=16)
    options = [f'model.backbone.{key}={value}' for key, value in small.items()]
    options += [f'model.heads.cls.{key}={value}' for key, value in head.items()]
    pipeline = 'train_dataloader.dataset.dataset.pipeline.1'
    options += [f'{pipeline}.global_size=32', f'{pipeline}.local_size=16', 'optim_wrapper.precision=fp32']
    command = ['doctor.py', 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', '--images', str(images)]
    command += ['--batch-size', '8', '--num-workers', '0', '--steps', '3', '--quick', '--cfg-options', *options]
    monkeypatch.setattr(sys, 'argv', command)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(repository / 'tools/doctor.py'), run_name='__main__')
    assert ended.value.code == 1
    assert 'fault    images of one colour: 40 of 40' in capsys.readouterr().out
    out = tmp_path / 'work_dirs/doctor'
    names = sorted(path.name for path in out.iterdir())
    assert names == ['doctor.html', 'doctor.md', 'schedule.png', 'views.png']
    assert '<td>40 of 40, such as' in (out / 'doctor.html').read_text()
    assert [path.name for path in (tmp_path / 'work_dirs').iterdir()] == ['doctor']


@pytest.mark.usefixtures('own_handlers')
def test_a_signal_ends_it_at_once():
    _end_at_once_when_asked()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.fixture
def own_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_page_holds_all_and_runs_nothing(tmp_path):
    cv2.imwrite(str(tmp_path / 'views.png'), np.full((8, 8, 3), 90, np.uint8))
    page = page_of(
        'a<b', [Finding('ok', 'x', '1 < 2'), Finding('fault', 'y', 'z', '<script>')], [tmp_path / 'views.png']
    )
    assert page.index('<td>fault</td>') < page.index('<td>ok</td>') and '1 &lt; 2' in page and '1 fault, 1 ok' in page
    assert '<script' not in page and 'http' not in page.replace('http-equiv', '') and 'data:image/webp' in page
