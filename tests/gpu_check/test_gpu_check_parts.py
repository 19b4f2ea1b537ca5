"""Each part of tools/gpu_check.py on the CPU: it passes where both sides are the same, and notices where not."""

import copy
import itertools
import os
import runpy
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fresh_process import SERVER, leave_configs_unformatted

from benchmark import command_line as benchmark_command_line
from dino_plugin.core.distillation import SelfDistillation
from gpu_checks import (
    compiled,
    data,
    evaluation,
    export,
    machine,
    programs,
    recipes,
    resume,
    speed,
    suite,
    training,
    two_processes,
)
from gpu_checks.findings import NotRun
from gpu_checks.recorder import train


def all_passed(found: dict, kind: str = 'checks') -> bool:
    return all(check['passed'] for check in found[kind].values())


# --- training ---------------------------------------------------------------------------------------------------------


def test_every_method_precision_and_split_is_combined_once_and_each_pair_comes_early():
    expected = set(itertools.product(recipes.METHODS, ('bf16', 'fp16'), recipes.SPLITS))
    for is_compiled in (False, True):
        runs = [run for run in training.every_run(is_compiled) if run.precision in ('bf16', 'fp16')]
        assert len(runs) == len(expected) and {run[:3] for run in runs} == expected
        assert {run.compiled for run in runs} == {is_compiled}
        assert {run[:2] for run in runs[:8]} == {run[:2] for run in expected}
        assert {run[1:3] for run in runs[:8]} == {run[1:3] for run in expected}
        assert {(run.method, run.split) for run in runs[:16]} == {(run[0], run[2]) for run in expected}


def test_each_method_trains_beside_the_cpu(options, findings, found, monkeypatch):
    runs = [
        training.Run('dino', 'fp16', 'worker'),
        training.Run('ibot', 'fp32', 'device'),
        training.Run('dinov2', 'bf16', 'decode'),
        training.Run('dinov3', 'fp32', 'worker'),
        training.Run('dinov3', 'auto', 'auto', as_shipped=True),
    ]
    monkeypatch.setattr(training, 'every_run', lambda compiled: runs)
    training.run(options, findings)
    checks = found()['checks']
    assert list(checks) == [str(run) for run in runs] and all_passed(found()), checks
    for name, check in checks.items():
        assert len(check['losses']) == 6 and check['teacher_error'] < 1e-6 < check['teacher_moved']
        assert len(check['loss_gaps']) == (0 if 'as shipped' in name else 2)
        assert ('fp32' in name) == (check['loss_gaps'] == [0.0, 0.0]), 'the same sums; another precision rounds'
    assert checks['dino fp16 worker']['skipped'] == 0 < max(checks['dino fp16 worker']['gradient_gaps'])
    assert len(set(checks['dinov3 fp32 worker']['losses'])) == 6, 'it learns'


@pytest.fixture(scope='module')
def side_by_side(tmp_path_factory):
    """A training, and the first steps that it is compared with."""
    options = SimpleNamespace(device='cpu', size='small', folder=str(tmp_path_factory.mktemp('run')), images=None)
    config = recipes.recipe('dino', options, 'fp32', 'worker')
    config.train_cfg.max_iters = 3
    changed = copy.deepcopy(config)
    changed.experiment_name, changed.model.losses.dino.student_temperature = 'changed', 0.11
    return [train(each, 'cpu', most=2) for each in (config, changed)]


def test_a_device_that_computes_another_loss_is_noticed(side_by_side):
    right, other = side_by_side
    for tolerance in training.TOLERANCES['full'].values():
        assert training.verdict(right, right.steps, tolerance)[0]
        assert not training.verdict(other, right.steps, tolerance)[0]


@pytest.mark.parametrize(
    'change',
    [
        dict(losses={'loss': float('nan'), 'loss_dino': 1.0}),
        dict(stepped=False),
        dict(teacher_error=1e-3),
        dict(grad_norm=1.2),
    ],
)
def test_steps_that_are_not_as_they_should_be_are_noticed(side_by_side, change):
    right, _ = side_by_side
    steps = [step._replace(grad_norm=1.0) for step in right.steps]
    assert training.verdict(right._replace(steps=steps), steps, (2e-2, 1e-1))[0]
    broken = right._replace(steps=[step._replace(**change) for step in steps])
    assert not training.verdict(broken, steps, (2e-2, 1e-1))[0]


def test_a_teacher_that_stays_where_it_is_is_noticed(options, monkeypatch):
    monkeypatch.setattr(SelfDistillation, 'update_teacher', lambda *_: None)
    found = train(recipes.recipe('dino', options, 'fp32', 'worker'), 'cpu', most=2)
    assert found.teacher_moved == 0 < found.student_moved and found.steps[1].teacher_error > training.TEACHER
    assert not training.verdict(found, found.steps, (1e-4, 1e-2))[0]


def test_gradients_are_compared_up_to_the_first_step_that_was_skipped(side_by_side):
    right, _ = side_by_side
    skipped = [right.steps[0]._replace(stepped=False, grad_norm=float('inf')), right.steps[1]]
    assert training.gaps(skipped, right.steps) == ([0.0], [])


def test_nothing_is_compiled_without_a_compiler(options, findings, monkeypatch):
    monkeypatch.setattr(machine.shutil, 'which', lambda name: None)
    with pytest.raises(NotRun, match='no compiler'):
        compiled.run(options, findings)


def test_compiled_runs_compile_blocks_and_colours(options):
    model = recipes.recipe('dino', options, split='decode', compiled=True).model
    assert model.backbone.compile_blocks and model.data_preprocessor.compile_colours


# --- evaluators and export --------------------------------------------------------------------------------------------


def test_features_knn_and_propagation_are_compared(options, findings, found):
    evaluation.run(options, findings)
    checks = found()['checks']
    assert all_passed(found()), checks
    names = {'features fp32', 'features bf16', 'features fp16', 'k-NN', 'propagation', 'masks'}
    assert set(checks) == names
    assert 0 == checks['features fp32']['gap'] < checks['features fp16']['gap'] < checks['features bf16']['gap']


def test_an_evaluator_that_finds_something_else_on_the_device_is_noticed(options, findings, found, monkeypatch):
    calls = itertools.count()
    predict, carry = evaluation.knn_predict, evaluation.LabelPropagator.__call__

    def wrong_at_the_second_call(bank, labels, *rest):
        return predict(bank, labels.roll(next(calls)), *rest)

    def reversed_at_the_second_call(self, features, labels):
        second = next(calls) == 3
        return (share.flip(-1) if second else share for share in carry(self, features, labels))

    monkeypatch.setattr(evaluation, 'knn_predict', wrong_at_the_second_call)
    monkeypatch.setattr(evaluation.LabelPropagator, '__call__', reversed_at_the_second_call)
    monkeypatch.setattr(evaluation, 'FEATURES', {'bf16': (torch.bfloat16, 1e-9)})
    evaluation.run(options, findings)
    checks = found()['checks']
    assert {name for name, check in checks.items() if not check['passed']} >= {'features bf16', 'k-NN', 'propagation'}


def test_votes_are_those_of_the_equation():
    bank, query, labels = torch.randn(9, 4), torch.randn(4), torch.arange(9) % 3
    cosines = [float(row @ query / (row.norm() * query.norm())) for row in bank]
    nearest = sorted(range(9), key=lambda number: -cosines[number])[:5]
    expected = [sum(2.718281828459045 ** (cosines[n] / 0.07) for n in nearest if n % 3 == c) for c in range(3)]
    torch.testing.assert_close(
        evaluation.votes_by_formula(bank, labels, query, 5), torch.tensor(expected).double(), rtol=1e-4, atol=0
    )


def test_an_exported_backbone_is_the_trained_teacher(options, findings, found):
    export.run(options, findings)
    checks = found()['checks']
    assert set(checks) == {'read by TimmBackbone', 'read by timm', 'autocast bf16', 'autocast fp16'}
    assert all_passed(found()) and checks['read by timm']['gap'] == 0 < checks['autocast bf16']['gap'], checks
    export.compare('other weights', [torch.ones(3)], [torch.tensor([1.0, 1.0, 1.1])], export.SAME, findings)
    assert not found()['checks']['other weights']['passed']


# --- speed ------------------------------------------------------------------------------------------------------------


def test_the_data_path_is_measured_by_split(options, findings, found, monkeypatch):
    monkeypatch.setattr(data, 'WARM_UP', 1)
    data.run(options, findings)
    rows = found()['figures']
    assert list(rows) == list(recipes.SPLITS) and not found()['checks']
    for row in rows.values():
        rates = [row[f'{name}_images_per_second'] for name in ('training', 'step', 'loader')]
        assert 0 < rates[0] < rates[1] and rates[2] > 0
        assert rates[0] / rates[1] == pytest.approx(1 - row['waiting'])


def test_a_step_is_measured_beside_the_reference_and_beside_a_product(
    options, findings, found, monkeypatch, tmp_path, repository
):
    write_reference = runpy.run_path(str(repository / 'tests/benchmark/fake_reference.py'))['write_reference']
    options.reference = str(write_reference(tmp_path / 'dino'))
    monkeypatch.setattr(speed, 'GEMM_SIZE', dict(cpu=64))
    speed.product_rate.cache_clear()
    speed.run(options, findings)
    assert all_passed(found()), found()
    rows = found()['figures']
    assert set(rows) == {'tiny reference', 'tiny fp32', 'tiny bf16'}
    assert all(row['beside_reference'] and row['seconds'] > 0 and row['batch'] == 2 for row in rows.values())
    per_step = [rows[f'tiny {way}']['teraflops'] * rows[f'tiny {way}']['seconds'] for way in ('fp32', 'bf16')]
    assert per_step[0] == pytest.approx(per_step[1])
    share = rows['tiny fp32']['teraflops'] / rows['tiny fp32']['product_teraflops']
    assert rows['tiny fp32']['share_of_product'] == pytest.approx(share)


def test_a_batch_for_which_there_is_no_memory_is_halved(options, findings, found, monkeypatch):
    batches = []

    def measure(arguments):
        batches.append(int(arguments[arguments.index('--batch') + 1]))
        if batches[-1] > 1:
            raise torch.OutOfMemoryError('out of memory')
        row = dict(seconds=[0.5, 0.4, 0.6], times=[1.0, 1.0, 1.0], memory=1)
        print(f'{{"checks": {{}}, "tables": {{"step": {{"bf16": {row}}}}}}}'.replace("'", '"'))

    monkeypatch.setattr(benchmark_command_line, 'main', measure)
    monkeypatch.setattr(speed, 'GEMM_SIZE', dict(cpu=64))
    speed.run(options, findings)
    assert batches == [2, 1] and found()['figures']['tiny bf16']['batch'] == 1
    assert list(found()['left_out']) == ['ViT-tiny/16, fp32, bf16, batch 2']


# --- programs ---------------------------------------------------------------------------------------------------------


class Forked:
    """What `programs` wants of a process; forked from a server, so that PyTorch is not imported again."""

    def __init__(self, command, stdout, stderr, env):
        self.process = SERVER.Process(target=run_program, args=(command[1:], stdout.name, dict(env)))
        self.process.start()

    def wait(self, timeout):
        self.process.join(timeout)
        return self.process.exitcode


def run_program(arguments, log, environment):
    os.environ.clear()
    os.environ |= environment
    torch.set_num_threads(1)
    leave_configs_unformatted()
    sys.argv, sys.path[:0] = arguments, [str(Path(arguments[0]).parent)]
    with Path(log).open('w', buffering=1) as output, redirect_stdout(output), redirect_stderr(output):
        try:
            runpy.run_path(arguments[0], run_name='__main__')
        except Exception:
            traceback.print_exc()
            sys.exit(1)


def test_steps_are_compiled_last_and_only_with_a_compiler_and_time(options, findings, found, monkeypatch):
    ways = dict(compiled=dict(precision='bf16', compile_blocks=True), bf16=dict(precision='bf16'))
    monkeypatch.setitem(speed.benchmark_step.WAYS, 'cpu', ways)
    monkeypatch.setattr(
        speed, '_benchmark', lambda *given: dict(checks=dict(step=list(given[-1])), tables=dict(step={}))
    )
    monkeypatch.setattr(speed, 'COMPILE_SECONDS', 0)
    speed.run(options, findings)
    assert list(found()['checks']) == ['ViT-tiny/16, bf16', 'ViT-tiny/16, compiled']
    monkeypatch.setattr(speed, 'COMPILE_SECONDS', 1000)
    speed.run(options, findings)
    assert found()['left_out']['ViT-tiny/16, compiled']['reason'] == 'no time left'
    monkeypatch.setattr(machine.shutil, 'which', lambda name: None)
    speed.run(options, findings)
    assert found()['left_out']['ViT-tiny/16, compiled']['reason'].startswith('no compiler')


@pytest.fixture
def forked(monkeypatch):
    monkeypatch.setattr(programs.subprocess, 'Popen', Forked)


def run_pytest(command, cwd, env, timeout):
    process = SERVER.Process(target=pytest_main, args=(command[3:], cwd, dict(env)))
    process.start()
    process.join(timeout)


def pytest_main(arguments, folder, environment):
    os.chdir(folder)
    os.environ |= environment
    sys.path.insert(0, str(Path(suite.__file__).parents[1]))
    sys.exit(pytest.main(arguments))


def test_a_killed_training_is_resumed_and_equals_the_unbroken_ones(
    options, findings, found, forked, tmp_path, monkeypatch
):
    for name, number in dict(STEPS=6, SAVED=2, KILLED=5).items():
        monkeypatch.setattr(resume, name, number)
    resume.run(options, findings)
    checks = found()['checks']
    assert all_passed(found()) and list(checks) == ['killed', 'resumed'], checks
    assert checks['killed']['detail'] == 'last_checkpoint is iter_4.pth'
    assert not (tmp_path / 'resumed' / 'iter_5.pth').exists()
    assert checks['resumed']['detail'].endswith('resumed and unbroken: bit for bit')


def test_a_resumed_run_may_differ_as_unbroken_ones_do_and_no_more():
    def state(value: float) -> dict:
        return dict(weight=torch.tensor([1.0, value]))

    same, near, far = state(1.0), state(1.0 + 1e-6), state(1.1)
    assert resume.compare(same, same, same) == (
        True, 'unbroken runs repeat themselves bit for bit; resumed and unbroken: bit for bit'
    )  # fmt: skip
    assert not resume.compare(same, same, near)[0]
    assert resume.compare(same, near, near)[0] and resume.compare(same, near, same)[0]
    assert not resume.compare(same, near, far)[0]
    assert not resume.compare(same, same, dict(other=torch.ones(2)))[0]


def test_two_processes_have_the_losses_of_one_with_the_joint_batch(options, findings, found, forked, monkeypatch):
    monkeypatch.setattr(two_processes, 'STEPS', 3)
    two_processes.run(options, findings)
    check = found()['checks']['losses']
    assert check['passed'] and check['detail'].startswith('3 steps'), check
    assert not two_processes.compare([1.0], [2.0], [1.6])[0]
    assert not two_processes.compare([1.0], [1.0], [1.0])[0], 'both had the same images'


def test_a_training_that_fails_is_told_with_the_end_of_its_log(options, findings, forked, tmp_path):
    config = recipes.recipe('dino', options)
    config.model.losses.dino.head = 'missing'
    program = programs.start_training(config, tmp_path / 'wrong')
    with pytest.raises(RuntimeError, match=r'(?s)prototypes.*\nwrong: 1 instead of exit status 0'):
        programs.finish(program, findings)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_machine_is_described_and_a_missing_gpu_is_named(options, findings, found, monkeypatch):
    machine.run(options, findings)
    assert found()['checks']['device']['passed'] and 'torch' in found()['figures']['machine']['versions']
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    options.device = 'cuda'
    machine.run(options, findings)
    assert found()['checks']['device'] == dict(
        name='device', passed=False, detail='no GPU: torch.cuda.is_available() is False'
    )


def test_a_copy_without_images_says_so(options, monkeypatch):
    monkeypatch.setattr(recipes, 'BUNDLED', Path(options.folder, 'missing'))
    with pytest.raises(NotRun, match='give a folder as --images'):
        recipes.image_folder(options)


def test_images_of_ones_own_are_trained_on(options, twelve_images):
    options.images = str(twelve_images)
    assert recipes.recipe('ibot', options).train_dataloader.dataset.dataset.data_root == str(twelve_images)


def test_tests_run_on_the_device_and_those_that_fail_are_named(options, findings, found, monkeypatch, tmp_path):
    (tmp_path / 'tests').mkdir()
    good = 'import torch\ndef test_good():\n    assert torch.ones(1).device.type == "meta"\n'
    (tmp_path / 'tests/test_some.py').write_text(f'{good}def test_bad():\n    assert 0\n')
    monkeypatch.setattr(suite, 'REPOSITORY', tmp_path)
    monkeypatch.setattr(suite, 'ON_DEVICE', ('tests/test_some.py',))
    monkeypatch.setattr(suite, 'BY_RUNNER', ('tests/test_some.py::test_bad',))
    monkeypatch.setattr(suite.subprocess, 'run', run_pytest)
    options.device = 'meta'
    suite.run(options, findings)
    first, second = found()['checks'].values()
    assert (first['passed_tests'], first['failed_tests'], first['passed']) == (1, ['test_bad'], False)
    assert (second['passed_tests'], second['failed_tests']) == (0, ['test_bad'])


def test_without_pytest_the_part_says_so(options, findings, monkeypatch):
    monkeypatch.setattr(suite, 'NEEDED', ('pytest', 'no_such_package'))
    with pytest.raises(NotRun, match='no no_such_package'):
        suite.run(options, findings)


def test_the_tests_that_it_names_exist(repository):
    assert all((repository / name).is_file() for name in (*suite.ON_DEVICE, suite.BY_RUNNER[0]))
    text = (repository / suite.BY_RUNNER[0]).read_text()
    assert all(word in text for word in suite.BY_RUNNER[-1].split(' or '))
