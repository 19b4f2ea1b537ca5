"""tools/gpu_check.py around its parts: what fails, crashes or hangs, the limits of time, the JSON, the tables."""

import configparser
import json
import re
import subprocess
import sys
import time

import pytest

from gpu_checks import command_line
from gpu_checks.findings import Findings, read_findings
from gpu_checks.parts import PARTS, Part

PROGRAMS = {
    'good': "findings.check('sum', 1 + 1 == 2, 'two', digits=[2.0, float('inf')])",
    'wrong': "findings.check('sum', False, 'three'); findings.check('difference', True, 'zero')",
    'raises': "findings.check('before', True, ''); raise RuntimeError('out of luck')",
    'dies': "findings.measure('before', seconds=1); import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    'hangs': (
        "findings.check('before', True, ''); import subprocess, sys, time\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    print('child', child.pid, flush=True); time.sleep(60)"
    ),
    'cannot': "from gpu_checks.findings import NotRun; raise NotRun('no compiler')",
    'has_no_time': "findings.leave_out('all of it', 'no time left')",
    'no_gpu': "findings.check('device', False, 'no GPU')",
}


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Names of programs -> (exit status, the JSON, what was printed), each with the given minutes."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(command_line, 'LEAST_SECONDS', 0)
    for name, body in PROGRAMS.items():
        (tmp_path / f'part_that_{name}.py').write_text(f'def run(options, findings):\n    {body}\n')

    def run(*names: str, minutes: float = 0.5):
        parts = [Part(name if name != 'no_gpu' else 'machine', f'part_that_{name}', 1, f'it {name}') for name in names]
        out = tmp_path / 'found.json'
        arguments = ['--device', 'cpu', '--out', str(out), '--minutes', str(minutes)]
        status = command_line.main(arguments, parts)
        return status, json.loads(out.read_text()), capsys.readouterr().out

    return run


def test_a_part_that_fails_is_reported_and_the_others_still_run(check):
    status, results, printed = check('wrong', 'raises', 'dies', 'cannot', 'has_no_time', 'good')
    assert status == 1
    statuses = {name: part['status'] for name, part in results['parts'].items()}
    assert statuses == dict(
        wrong='failed', raises='failed', dies='crashed', cannot='not run', has_no_time='not run', good='passed'
    )
    reasons = {name: part['reason'] for name, part in results['parts'].items()}
    assert reasons['wrong'] == 'sum'
    assert reasons['raises'].startswith('RuntimeError: out of luck\nTraceback')
    assert reasons['dies'].startswith('ended by SIGKILL')
    assert reasons['cannot'] == 'no compiler'
    assert reasons['has_no_time'] == 'no time left'
    assert [len(results['parts'][name]['checks']) for name in ('wrong', 'raises')] == [2, 1]
    assert results['parts']['dies']['figures'] == [dict(name='before', seconds=1)]
    assert results['parts']['good']['checks'] == [dict(name='sum', passed=True, detail='two', digits=[2.0, 'inf'])]
    assert 'sum: three' in printed and 'difference' not in printed.split('| check |')[0]


def test_the_exit_status_is_0_where_nothing_failed(check):
    assert check('good', 'cannot')[0] == 0


def test_a_part_that_hangs_is_stopped_with_all_that_it_started_and_keeps_what_it_found(check):
    began = time.time()
    status, results, _ = check('hangs', 'good', minutes=6 / 60)
    assert status == 1 and time.time() - began < 20
    part = results['parts']['hangs']
    assert part['status'] == 'stopped' and [found['name'] for found in part['checks']] == ['before']
    child = part['reason'].split('child ')[1].split()[0]
    shown = subprocess.run(['ps', '-o', 'stat=', '-p', child], capture_output=True, text=True).stdout.strip()
    assert shown in ('', 'Z'), 'killed, if not yet collected'
    assert results['parts']['good']['status'] == 'passed'


def test_time_that_a_part_does_not_use_is_left_to_the_others(monkeypatch, tmp_path, capsys):
    limits = []
    found = dict(status='passed', seconds=0, reason='', checks=[], figures=[], left_out=[])
    monkeypatch.setattr(command_line, 'run_part', lambda part, options, limit: limits.append(limit) or found)
    parts = [Part(str(weight), '', weight, '') for weight in (1, 2, 3)]
    command_line.main(['--device', 'cpu', '--out', str(tmp_path / 'a.json'), '--minutes', '1'], parts)
    assert limits == pytest.approx([10, 24, 60], abs=0.5)


def test_without_a_gpu_no_other_part_is_started(check):
    status, results, _ = check('no_gpu', 'good')
    assert status == 1
    assert results['parts']['good']['status'] == 'not run' and results['parts']['good']['reason'] == 'no GPU'


def test_no_part_is_started_when_the_time_is_over(check, monkeypatch):
    monkeypatch.setattr(command_line, 'LEAST_SECONDS', 100)
    _, results, _ = check('good')
    assert results['parts']['good']['reason'] == 'no time left'


FIGURES = dict(network='ViT-small/16', batch=64, beside_reference=True, memory=2**31)
RESULTS = dict(
    began='2026-01-01T00:00:00+00:00',
    seconds=100.0,
    options=dict(size='full'),
    parts=dict(
        machine=dict(
            status='passed', seconds=5, reason='', checks=[], left_out=[], figures=[dict(name='machine', gpu='G 1')]
        ),
        speed=dict(
            status='failed', seconds=50.0, reason='loss', left_out=[dict(name='ViT-base/16', reason='no time left')],
            checks=[dict(name='loss', passed=False, detail='1 | 2')],
            figures=[
                dict(FIGURES, name='a', way='reference', seconds=0.004, times=1.0),
                dict(FIGURES, name='b', way='bf16', seconds=0.002, times=2.0, teraflops=150.0, product_teraflops=600.0,
                     share_of_product=0.25),
            ],
        ),
        data=dict(
            status='passed', seconds=9.0, reason='', checks=[], left_out=[],
            figures=[dict(name='decode', workers=7, loader_images_per_second=800.0, training_images_per_second=400.0,
                          waiting=0.125)],
        ),
    ),
)  # fmt: skip


def test_the_tables_hold_the_figures(tmp_path, capsys):
    (tmp_path / 'a.json').write_text(json.dumps(RESULTS))
    assert command_line.main(['--table', '--out', str(tmp_path / 'a.json')]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Machine: gpu: G 1. 2026-01-01T00:00:00+00:00, size full, 100 s.'
    assert '| step, ViT-small/16, reference, batch 64 | 4 ms an image | 1.00 | 2.00 GiB |  |  |' in lines
    assert (
        '| step, ViT-small/16, bf16, batch 64 | 2 ms an image | 2.00 | 2.00 GiB | 150 TFLOP/s | 25% of 600 |' in lines
    )
    assert '| split=decode, 7 workers | 800 | 400 | 12% |' in lines
    assert '| **speed** | failed | loss | 50 s |' in lines and '| loss | FAILED | 1 / 2 |  |' in lines
    assert '| ViT-base/16 | not run | no time left |  |' in lines


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--table', '--out', 'missing.json'], 'missing.json does not exist'),
        (['--images', 'missing'], '--images: missing is not a folder'),
        (['--reference', 'missing'], '--reference: missing is not a folder'),
        (['--only', 'trainings'], "invalid choice: 'trainings'"),
    ],
)
def test_mistakes_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        command_line.main(arguments)
    assert message in capsys.readouterr().err


def test_only_the_parts_that_are_asked_for_run_in_the_size_of_the_device(monkeypatch, tmp_path, capsys):
    seen = []
    found = dict(status='passed', seconds=0, reason='', checks=[], figures=[], left_out=[])
    monkeypatch.setattr(
        command_line, 'run_part', lambda part, options, limit: seen.append((part.name, options['size'])) or found
    )
    for device in ('cpu', 'cuda'):
        arguments = ['--only', 'export', 'data', '--device', device, '--out', str(tmp_path / 'a.json')]
        assert command_line.main(arguments) == 0
    assert seen == [('data', 'small'), ('export', 'small'), ('data', 'full'), ('export', 'full')]


def test_the_program_is_found_by_its_name_and_names_its_parts(tmp_path):
    command = [sys.executable, '-m', 'dino_plugin', 'gpu_check', '--help']
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert all(part.name in done.stdout and part.what in done.stdout for part in PARTS)


def test_the_page_names_every_part_and_every_package_that_must_be_carried(repository):
    page = (repository / 'docs/gpu.md').read_text()
    assert re.findall(r'^\| `(\w+)` \|', page, flags=re.MULTILINE) == [part.name for part in PARTS]
    setup = configparser.RawConfigParser()
    setup.read(repository / 'setup.cfg')
    lines = setup['options']['install_requires'].split()
    required = {re.split('[<>=]', line)[0] for line in lines} | {'onedl-mmengine', 'onedl-mmcv'}
    carried = page.split('## Without network')[1]
    # The last five come with the first three.
    there = {'torch', 'torchvision', 'timm', 'numpy', 'pillow', 'safetensors', 'huggingface_hub', 'filelock'}
    assert required - there == {name for name in required - there if re.search(rf'\s{name}\s', carried)}


def test_an_attempt_that_fails_is_a_failed_check_and_a_long_one_is_not_begun_without_time(tmp_path):
    file = tmp_path / 'findings.jsonl'
    findings = Findings(file, time.time() + 0.3)
    findings.attempt('divides', lambda: 1 / 0)
    assert findings.attempt('sleeps', lambda: time.sleep(0.2) or 5) == 5
    findings.attempt('sleeps again', lambda: time.sleep(0.2))
    file.write_text(file.read_text() + '{"kind": "checks", "na')  # killed while it wrote
    found = read_findings(file)
    (check,) = found['checks']
    assert (check['name'], check['passed'], check['detail']) == (
        'divides',
        False,
        'ZeroDivisionError: division by zero',
    )
    assert found['left_out'] == [dict(name='sleeps again', reason='no time left')]
