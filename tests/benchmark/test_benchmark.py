"""tools/benchmark.py: each command at a tiny size, alone, beside a fake reference and beside a wrong one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_reference import write_reference

from dino_plugin.benchmark import arguments, command_line, knn, networks, parts, scaling, switches
from dino_plugin.benchmark.harness import Candidate
from dino_plugin.engine.precision import PRECISIONS

SMALL_NETWORK = ['--global-size', '32', '--local-size', '16', '--num-local', '2', '--prototypes', '64', '--batch', '2']
ONCE = ['--rounds', '1', '--warm-up', '0']
PARTS = ['--only', 'ema', 'optimizer', 'clip', 'loss']
COMMANDS = {
    'data': ['--chunk', '2', '--num-local', '1', *ONCE],
    'collate': [*SMALL_NETWORK[:6], '--batch', '2', '--batches', '2', *ONCE],
    'step': ['--model', 'tiny', '--device', 'cpu', *SMALL_NETWORK, *ONCE],
    'knn': ['--bank', '500', '--queries', '200', '--dim', '16', '--classes', '12', '--device', 'cpu', '--rounds', '2'],
    'propagation': ['--grids', '16=8x17', '8=5x9', '--dim', '16', '--device', 'cpu', '--rounds', '2'],
    'parts': ['--model', 'tiny', '--device', 'cpu', *SMALL_NETWORK, *ONCE, *PARTS],
}
SCALING = ['--model', 'tiny', '--device', 'cpu', *SMALL_NETWORK, *ONCE, '--num-images', '8']
# Ratios to the reference, and those to what needs no checkout of it.
RATIOS = {
    'data': ({'worker', 'device', 'decode'}, set()),
    'collate': (set(), {'collate', 'default_collate'}),
    'step': ({'step_cpu_fp32_tiny', 'step_cpu_bf16_tiny'}, set()),
    'knn': ({'knn'}, set()),
    'propagation': ({'propagation_16', 'propagation_8'}, set()),
    'parts': ({'clip', 'loss'}, {'ema', 'optimizer'}),
}
# Command, check that must fail, module, text, what stands there instead.
WRONG = [
    ('data', 'worker', 'main_dino', 'GLOBAL_SIZE = 224', 'GLOBAL_SIZE = 200'),
    (
        'data',
        'worker',
        'main_dino',
        'transforms.Normalize((0.485, 0.456, 0.406)',
        'transforms.Normalize((0.2, 0.2, 0.2)',
    ),
    ('step', 'step_cpu_fp32_tiny', 'main_dino', 'TEMPERATURE = 0.1', 'TEMPERATURE = 0.11'),
    ('parts', 'loss', 'main_dino', 'TEMPERATURE = 0.1', 'TEMPERATURE = 0.11'),
    ('parts', 'clip', 'utils', 'clip / (', '0.5 * clip / ('),
    ('knn', 'knn', 'eval_knn', 'NEAREST = True', 'NEAREST = False'),
    ('propagation', 'propagation_16', 'eval_video_segmentation', 'REVERSED = False', 'REVERSED = True'),
]


def assert_complete(found: dict, command: str, names: set[str]) -> None:
    """What each command promises; ``names`` are the ratios."""
    assert found['command'] == command
    assert {'cpu', 'cores', 'threads', 'flags', 'ram_gib', 'gpu', 'versions', 'load_average'} <= set(found['machine'])
    assert found['checks'] and all(found['checks'].values()), found['details']
    # Some versions of a fast path may add a row of their own.
    assert names <= set(found['ratios']) and (names or not found['ratios'])
    assert all(value > 0 for value in [*found['seconds'].values(), *found['ratios'].values()])
    assert all(low <= found['seconds'][name] <= high for name, (low, high) in found['seconds_range'].items())


@pytest.mark.parametrize('command', COMMANDS)
def test_alone_a_command_times_ours_and_checks_it_against_the_plain_formula(benchmark, command):
    status, found, _ = benchmark(command, *COMMANDS[command])
    of_reference, of_others = RATIOS[command]
    assert_complete(found, command, of_others)
    assert status == 0
    assert of_reference <= set(found['seconds'])
    assert not of_reference & set(found['ratios'])


@pytest.mark.parametrize('command', COMMANDS)
def test_beside_the_reference_there_are_ratios_and_the_same_results(benchmark, command, tmp_path):
    reference = write_reference(tmp_path / 'dino')
    status, found, printed = benchmark(command, *COMMANDS[command], '--reference', reference)
    of_reference, of_others = RATIOS[command]
    assert_complete(found, command, of_reference | of_others)
    assert status == 0
    assert 'must not reach' not in printed
    assert of_reference <= set(found['checks'])


@pytest.mark.parametrize(('command', 'check', 'module', 'text', 'other'), WRONG)
def test_a_reference_that_computes_something_else_is_noticed(benchmark, command, check, module, text, other, tmp_path):
    reference = write_reference(tmp_path / 'dino', **{module: (text, other)})
    status, found, printed = benchmark(command, *COMMANDS[command], '--reference', reference)
    assert not found['checks'][check]
    assert f'NOT the same: {check}' in printed
    assert status == 1


@pytest.mark.parametrize(
    ('axis', 'points'),
    [('batch', [1, 3]), ('local-views', [0, 1]), ('image-size', [16, 48]), ('workers', [0, 2]), ('processes', [2])],
)
def test_scaling_has_a_rate_for_each_point_of_an_axis(benchmark, axis, points):
    status, found, _ = benchmark('scaling', *SCALING, '--axes', axis, '--points', *points)
    assert status == 0 and all(found['checks'].values())
    assert [row['point'] for row in found['axes'][axis]] == points
    kept = [row['kept_gib'] for row in found['axes'][axis] if 'kept_gib' in row]
    assert kept == sorted(set(kept)) and len(kept) == (0 if axis in ('workers', 'processes') else len(points))
    for row in found['axes'][axis]:
        assert row['images_per_second'] == pytest.approx(1 / found['seconds'][f'{axis}={row["point"]}'])


def test_points_belong_to_one_axis():
    with pytest.raises(SystemExit, match='one axis'):
        command_line.main(['scaling', *SCALING, '--points', '1'])


def test_a_step_has_its_rate_and_without_a_gpu_the_command_that_would_fill_its_rows(benchmark):
    _, found, printed = benchmark('step', *COMMANDS['step'])
    rates = {name: rate['images_per_second'] for name, rate in found['rates'].items()}
    assert rates == pytest.approx({name: 1 / found['seconds'][name] for name in rates})
    assert set(found['missing']) == {'step_gpu_small', 'step_gpu_base', 'memory_small', 'memory_base'}
    assert 'step_gpu_small: not measured' in printed
    assert 'python tools/benchmark.py step --device cuda' in printed


def test_ctrl_c_shows_what_was_measured_so_far(benchmark, monkeypatch):
    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    def run(options, report, reference):
        report.compare('Two', [Candidate('one', print), Candidate('two', interrupt)], unit='call', baseline='one')

    monkeypatch.setattr(knn, 'run', run)
    status, found, printed = benchmark('knn', '--rounds', '5', '--warm-up', '0')
    assert status == 130 and found['interrupted']
    assert set(found['seconds']) == {'one', 'two'} and set(found['ratios']) == {'two'}
    assert 'Interrupted' in printed


def test_the_command_line_ends_in_one_line_of_json(repository):
    command = [sys.executable, repository / 'tools/benchmark.py', 'knn', *COMMANDS['knn']]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])['command'] == 'knn'
    assert 'knn' in done.stdout.splitlines()[-2]


def test_the_arguments_name_what_there_is():
    assert set(arguments.PARTS) == set(parts.PARTS)
    assert set(arguments.SWITCHES) == set(switches.SWITCHES) > set(arguments.COMPILED)
    assert set(arguments.MODELS) == set(networks.WIDTHS)
    assert set(arguments.PRECISIONS) == set(PRECISIONS)
    assert set(arguments.AXES) == {*scaling.STEP_AXES, 'workers', 'processes'}


@pytest.mark.parametrize(
    ('has_gpu', 'device', 'batch', 'precision'), [(True, 'cuda', 64, 'bf16'), (False, 'cpu', 2, 'fp32')]
)
def test_the_machine_decides_what_is_not_given(has_gpu, device, batch, precision):
    options = arguments.build_parser().parse_args(['step', '--profile'])
    arguments.complete(options, has_gpu)
    assert (options.device, options.batch, options.profile) == (device, batch, precision)
    options = arguments.build_parser().parse_args(['step', '--device', 'cpu', '--batch', '3', '--profile', 'fp16'])
    arguments.complete(options, has_gpu)
    assert (options.device, options.batch, options.profile) == ('cpu', 3, 'fp16')


def test_wrong_paths_are_named():
    with pytest.raises(SystemExit, match=r'no main_dino\.py'):
        command_line.main(['knn', '--reference', str(Path(__file__).parent)])
    with pytest.raises(SystemExit, match='No images below'):
        command_line.main(['data', '--images', '/nowhere'])


def test_beside_knn_stand_its_matrix_products_alone_and_what_is_not_built(benchmark):
    _, found, _ = benchmark('knn', *COMMANDS['knn'])
    assert {'products_float32', 'products_bfloat16'} <= set(found['seconds'])
    assert 'not built' in found['missing']['knn_bf16']
