"""tools/benchmark.py: each command at a tiny size, alone, beside a fake reference and beside a wrong one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_reference import write_reference

from benchmark import command_line, networks, parts, scaling

SIZES = ['--global-size', '32', '--local-size', '16', '--num-local', '2']
SMALL_NETWORK = ['--model', 'tiny', *SIZES, '--prototypes', '64', '--batch', '2', '--rounds', '1']
COMMANDS = {
    'data': ['--chunk', '2', '--num-local', '1', '--rounds', '1'],
    'reading': ['--images-per-shard', '4', '--window', '2', '--chunk', '2', '--rounds', '1'],
    'collate': [*SIZES, '--batch', '2', '--batches', '2', '--rounds', '1'],
    'step': SMALL_NETWORK,
    'knn': ['--bank', '500', '--queries', '200', '--dim', '16', '--classes', '12', '--rounds', '2'],
    'discovery': ['--grids', '16=8x17', '8=60x40', '--dim', '16', '--rounds', '2'],
    'propagation': ['--grids', '16=8x17', '8=5x9', '--dim', '16', '--rounds', '2'],
    'parts': [*SMALL_NETWORK, '--only', 'ema', 'optimizer', 'loss'],
}
# Of each table, the candidates that need no checkout of the reference, and whether one of it stands beside them.
TABLES = {
    'data': {'data': ({'worker', 'device', 'decode', 'whole', 'limit'}, True)},
    'reading': {
        'listing': ({'files', 'shards'}, False),
        'reading': ({f'{way}, {cache}' for way in ('files', 'shards') for cache in ('cold', 'warm')}, False),
    },
    'collate': {'collate': ({'pseudo_collate', 'collate'}, False)},
    'step': {'step': ({'fp32', 'bf16'}, True)},
    'knn': {'knn': ({'knn', 'products in torch.float32', 'products in torch.bfloat16'}, True)},
    'discovery': {'discovery_16': ({'dense', 'discovery'}, False), 'discovery_8': ({'discovery'}, False)},
    'propagation': {f'propagation_{patch}': ({'propagation'}, True) for patch in (8, 16)},
    'parts': {
        'ema': ({'plain', 'ours', 'limit'}, False),
        'optimizer': ({'plain', 'ours'}, False),
        'loss': ({'plain', 'ours'}, True),
    },
}
# Command, check that must fail, module, text, what stands there instead.
WRONG = [
    ('data', 'worker', 'main_dino', 'GLOBAL_SIZE = 224', 'GLOBAL_SIZE = 200'),
    ('data', 'worker', 'main_dino', 'Normalize((0.485, 0.456, 0.406)', 'Normalize((0.2, 0.2, 0.2)'),
    ('step', 'step', 'main_dino', 'TEMPERATURE = 0.1', 'TEMPERATURE = 0.11'),
    ('parts', 'loss', 'main_dino', 'TEMPERATURE = 0.1', 'TEMPERATURE = 0.11'),
    ('knn', 'knn', 'eval_knn', 'NEAREST = True', 'NEAREST = False'),
    ('propagation', 'propagation_16', 'eval_video_segmentation', 'REVERSED = False', 'REVERSED = True'),
]


@pytest.mark.parametrize('beside', [False, True], ids=['alone', 'beside the reference'])
@pytest.mark.parametrize('command', COMMANDS)
def test_a_command_checks_and_times_each_candidate(benchmark, command, beside, tmp_path):
    reference = ['--reference', write_reference(tmp_path / 'dino')] if beside else []
    status, found, printed = benchmark(command, *COMMANDS[command], *reference)
    assert status == 0 and found['checks'] and all(found['checks'].values()), printed
    assert 'must not reach' not in printed
    expected = {
        name: own | ({'reference'} if theirs and beside else set()) for name, (own, theirs) in TABLES[command].items()
    }
    assert {name: set(rows) for name, rows in found['tables'].items()} == expected
    for rows in found['tables'].values():
        first = next(iter(rows.values()))
        assert first['times'] == [1, 1, 1] and ('reference' in rows) == (next(iter(rows)) == 'reference')
        assert all(0 < low <= middle <= high for middle, low, high in (row['seconds'] for row in rows.values()))


@pytest.mark.parametrize(('command', 'check', 'module', 'text', 'other'), WRONG)
def test_a_reference_that_computes_something_else_is_noticed(benchmark, command, check, module, text, other, tmp_path):
    reference = write_reference(tmp_path / 'dino', **{module: (text, other)})
    status, found, printed = benchmark(command, *COMMANDS[command], '--reference', reference)
    assert not found['checks'][check]
    assert f'NOT the same: {check}' in printed
    assert status == 1


@pytest.mark.parametrize('axis', command_line.AXES)
def test_scaling_has_a_row_for_each_point_of_an_axis(benchmark, axis, monkeypatch):
    for name, points in {'batch': [1, 3], 'local-views': [0, 1], 'image-size': [16, 48]}.items():
        monkeypatch.setitem(scaling.STEP_AXES, name, (scaling.STEP_AXES[name][0], dict(cpu=points)))
    monkeypatch.setattr(scaling.os, 'cpu_count', lambda: 2)
    monkeypatch.delitem(scaling.OF_BACKBONE, 'float8')  # slow without a GPU
    status, found, _ = benchmark('scaling', *SMALL_NETWORK, '--num-images', '8', '--axes', axis)
    points = {'batch': '13', 'local-views': '01', 'image-size': ['16', '48'], 'workers': '012'}
    points['memory'] = list(scaling.OF_BACKBONE)
    rows = found['tables'][axis]
    assert status == 0 and all(found['checks'].values()) and list(rows) == list(points[axis])
    memory = [row['memory'] for row in rows.values()]
    if axis == 'memory':
        assert all(memory)  # tests/backbones/test_recomputation.py compares them
    else:
        assert memory == ([0, 0, 0] if axis == 'workers' else sorted(set(memory)))


def test_the_stages_of_a_step_make_up_the_whole(benchmark, monkeypatch):
    monkeypatch.setattr('benchmark.step_profile.GEMM_SIZE', dict(cpu=64))
    status, found, printed = benchmark('step', *SMALL_NETWORK, '--profile', 'fp32')
    stages = {name: row['share'] for name, row in found['tables']['stages'].items()}
    names = 'student, forward|head, forward|teacher|loss|backward|clipping|optimiser|EMA|normalising views|rest'
    assert status == 0 and set(stages) == set(names.split('|'))
    assert all(share > 0 for share in stages.values()) and sum(stages.values()) == pytest.approx(1)
    assert stages['backward'] > stages['head, forward'] and 'aten::mm' in printed
    assert set(found['tables']['limit']) == {'product', 'step'}


def test_the_program_ends_in_one_line_of_json(tmp_path):
    command = [sys.executable, '-m', 'dino_plugin', 'benchmark', 'knn', *COMMANDS['knn']]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1])['checks'] == {'knn': True}


def test_the_arguments_name_what_there_is():
    assert set(command_line.PARTS) == {*parts.PARTS, *parts.FAST_PATHS} > set(command_line.COMPILED)
    assert set(command_line.AXES) == {*scaling.STEP_AXES, 'workers', 'memory'}
    model = command_line.build_parser().parse_args(['step', '--model', 'base']).model
    assert model in networks.WIDTHS


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['knn', '--reference', Path(__file__).parent], 'no main_dino.py'),
        (['knn', '--rounds', '0'], 'at least one round'),
    ],
)
def test_wrong_arguments_are_named(benchmark, arguments, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        benchmark(*arguments)
    assert message in capsys.readouterr().err


def test_a_folder_without_images_is_named(benchmark, tmp_path):
    with pytest.raises(SystemExit, match=f'No images below {tmp_path}'):
        benchmark('data', '--images', tmp_path)
