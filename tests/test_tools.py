"""The commands: train.py with the flags of habit, the launchers, and the set-up that quickstart and tests share."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS

from dino_plugin.commands.runner import Runner
from dino_plugin.commands.training import training_config
from dino_plugin.weights.safe_loading import load_checkpoint

VANILLA = 'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'
CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'


@pytest.fixture(scope='module')
def train(repository):
    """tools/train.py as a module."""
    spec = importlib.util.spec_from_file_location('train_tool', repository / 'tools/train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def parse(train, monkeypatch):
    """Command line -> config."""

    def config_of(*arguments: str) -> Config:
        monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
        return training_config(train.parse_args())

    return config_of


def tiny(images: Path) -> list[str]:
    """Options that make the custom config a matter of seconds on a CPU: three steps of four images."""
    dataset = 'train_dataloader.dataset.dataset'
    backbone = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    head = dict(prototypes=64, hidden_dim=32, bottleneck_dim=16)
    crop = dict(global_size=32, local_size=16, num_local=2)
    loader = dict(batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False)
    return [
        '--cfg-options',
        f'{dataset}.data_root={images}',
        'optim_wrapper.precision=fp32',
        'default_hooks.logger.interval=1',
        *(f'model.backbone.{key}={value}' for key, value in backbone.items()),
        *(f'model.heads.cls.{key}={value}' for key, value in head.items()),
        *(f'{dataset}.pipeline.1.{key}={value}' for key, value in crop.items()),
        *(f'train_dataloader.{key}={value}' for key, value in loader.items()),
    ]


# --- train.py ---------------------------------------------------------------------------------------------------------


def test_the_work_dir_is_the_flags_then_the_configs_then_named_after_the_config(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse(CUSTOM).work_dir == './work_dirs/dino_vit-small-p16_1xb64-coslr-100e_custom'
    assert parse(CUSTOM, '--cfg-options', 'work_dir=from/config').work_dir == 'from/config'
    assert parse(CUSTOM, '--work-dir', 'flag', '--cfg-options', 'work_dir=from/config').work_dir == 'flag'


def test_resume_goes_on_from_the_latest_or_from_a_file(parse, tmp_path, capsys):
    assert not parse(CUSTOM).resume
    for flags in (['--resume'], ['--resume', 'auto']):
        cfg = parse(CUSTOM, *flags)
        assert (cfg.resume, cfg.load_from) == (True, None)
    checkpoint = tmp_path / 'epoch_3.pth'
    with pytest.raises(SystemExit):
        parse(CUSTOM, '--resume', str(checkpoint))
    assert f'argument --resume: {checkpoint} does not exist' in capsys.readouterr().err
    checkpoint.touch()
    cfg = parse(CUSTOM, '--resume', str(checkpoint))
    assert (cfg.resume, cfg.load_from) == (True, str(checkpoint))
    assert parse(CUSTOM, '--resume', 's3://bucket/epoch_3.pth').load_from == 's3://bucket/epoch_3.pth'


def test_amp_is_bf16_for_our_optim_wrapper_and_mmengines_for_its_own(parse):
    cfg = parse(CUSTOM, '--amp', '--cfg-options', 'optim_wrapper.precision=fp32')
    assert cfg.optim_wrapper.precision == 'bf16'
    cfg = parse(CUSTOM, '--amp', '--cfg-options', 'optim_wrapper.type=OptimWrapper')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


def test_auto_scale_lr_switches_the_scaling_on(parse):
    cfg = parse(CUSTOM, '--auto-scale-lr', '--cfg-options', 'auto_scale_lr.enable=False')
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=256)


def test_no_validate_leaves_no_evaluation(parse, tmp_path):
    (tmp_path / 'own.py').write_text(
        "optim_wrapper = dict(type='OptimWrapper')\n"
        "val_cfg, val_dataloader, val_evaluator = dict(), dict(), dict(type='Accuracy')\n"
        "custom_hooks = [dict(type=f'dino_plugin.{name}Hook') for name in ('KNN', 'Guard', 'EMATeacher')]\n"
    )
    cfg = parse(str(tmp_path / 'own.py'), '--no-validate')
    assert (cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator) == (None, None, None)
    assert [hook.type for hook in cfg.custom_hooks] == ['dino_plugin.EMATeacherHook']


def test_a_shipped_config_is_found_from_any_folder(parse, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert parse(f'configs/{VANILLA}').train_cfg.max_epochs == 100
    with pytest.raises(SystemExit) as stop:
        parse('configs/dino/dino_vit-small.py')
    assert stop.value.code == 2
    assert "argument config: No config 'configs/dino/dino_vit-small.py'" in capsys.readouterr().err


@pytest.fixture
def interrupted(train, monkeypatch, tmp_path, capsys):
    """Flags, and when checkpoints were written, by name -> what is said after Ctrl-C."""

    class Interrupted:
        def train(self):
            for name, age in written.items():
                (tmp_path / 'last_checkpoint').write_text(name)
                os.utime(tmp_path / 'last_checkpoint', (time.time() - age,) * 2)
            raise KeyboardInterrupt

    written: dict[str, float] = {}
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: Interrupted())

    def run(*flags: str, **checkpoints: float) -> str:
        written.update(checkpoints)
        monkeypatch.setattr(sys, 'argv', ['train.py', CUSTOM, '--work-dir', str(tmp_path), *flags])
        with pytest.raises(SystemExit) as stop:
            train.main()
        assert stop.value.code == 130
        return capsys.readouterr().err.strip()

    return run


def test_an_interrupted_training_names_the_checkpoint_that_it_can_go_on_from(interrupted, tmp_path):
    command = f'python train.py {CUSTOM} --work-dir {tmp_path}'
    assert interrupted(epoch_3=-60).endswith(f'To continue from epoch_3:\n    {command} --resume')
    assert interrupted('--resume', epoch_4=3600).endswith(f'To continue from epoch_4:\n    {command} --resume')
    earlier = str(tmp_path / 'earlier.pth')  # to which nobody wants to go back
    Path(earlier).touch()
    for given in (['--resume', earlier], [f'--resume={earlier}']):
        assert interrupted(*given, epoch_5=0).endswith(f'To continue from epoch_5:\n    {command} --resume')


@pytest.mark.parametrize(('variable', 'count', 'resumed'), [
    ('TORCHELASTIC_RESTART_COUNT', '1', True), ('SLURM_RESTART_COUNT', '2', True),
    ('SLURM_RESTART_COUNT', '0', False), ('SLURM_RESTART_COUNT', '', False), ('OTHER', '1', False),
])  # fmt: skip
@pytest.mark.parametrize('begun', [True, False])
def test_a_training_that_the_launcher_starts_again_goes_on_from_its_own_checkpoints(
    parse, tmp_path, monkeypatch, variable, count, resumed, begun
):
    monkeypatch.setenv(variable, count)
    first = tmp_path / 'of_another_run.pth'
    first.touch()
    (tmp_path / 'run').mkdir()
    if begun:
        (tmp_path / 'run' / 'epoch_1.pth').touch()
    cfg = parse(CUSTOM, '--work-dir', str(tmp_path / 'run'))
    assert (cfg.resume, cfg.load_from) == (resumed and begun, None)
    cfg = parse(CUSTOM, '--work-dir', str(tmp_path / 'run'), '--resume', str(first))
    assert (cfg.resume, cfg.load_from) == (True, None if resumed and begun else str(first))


@pytest.mark.parametrize('begun', [True, False])
def test_resume_without_anything_to_resume_keeps_the_weights_that_the_config_begins_with(parse, tmp_path, begun):
    if begun:
        (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    given = [CUSTOM, '--work-dir', str(tmp_path), '--resume', '--cfg-options', 'load_from=first.pth']
    cfg = parse(*given)
    assert (cfg.resume, cfg.load_from) == ((True, None) if begun else (False, 'first.pth'))


@pytest.mark.parametrize('checkpoints', [{}, dict(epoch_of_an_earlier_training=3600)])
def test_an_interrupted_training_without_a_checkpoint_says_how_to_start_again(checkpoints, interrupted, tmp_path):
    said = interrupted(**checkpoints)
    assert 'Stopped before the first checkpoint' in said
    assert said.endswith(f'    python train.py {CUSTOM} --work-dir {tmp_path}')


def test_a_runner_type_in_the_config_is_honoured(train, monkeypatch, tmp_path):
    built = []

    class Recorded:
        def train(self):
            built.append('trained')

    monkeypatch.setattr(RUNNERS, 'build', lambda cfg: built.append(cfg.runner_type) or Recorded())
    own = tmp_path / 'own.py'
    own.write_text("optim_wrapper = dict(type='OptimWrapper')\nrunner_type = 'FlexibleRunner'\n")
    monkeypatch.setattr(sys, 'argv', ['train.py', str(own), '--work-dir', str(tmp_path)])
    train.main()
    assert built == ['FlexibleRunner', 'trained']


@pytest.fixture(scope='module')
def trained(repository, twelve_images, tmp_path_factory) -> tuple[Path, str]:
    """The folder in which a user has trained for an epoch, and all that was printed."""
    folder = tmp_path_factory.mktemp('trained')
    flags = [f'configs/{CUSTOM}', '--work-dir', 'out', *tiny(twelve_images), 'train_cfg.max_epochs=1']
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    command = [sys.executable, repository / 'tools/train.py', *flags]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stderr + done.stdout


def test_training_from_another_folder_and_going_on(train, trained, twelve_images, tmp_path, monkeypatch):
    shutil.copytree(trained[0] / 'out', tmp_path / 'out')
    assert (tmp_path / 'out/epoch_1.pth').is_file()

    flags = [f'configs/{CUSTOM}', '--work-dir', 'out', *tiny(twelve_images), 'train_cfg.max_epochs=2', '--resume']
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['train.py', *flags])
    train.main()
    first, second = sorted((tmp_path / 'out').glob('*/vis_data/scalars.json'))
    steps = [[json.loads(line)['step'] for line in file.read_text().splitlines()] for file in (first, second)]
    assert steps == [[1, 2, 3], [4, 5, 6]]


def test_the_first_log_fits_a_screen_and_the_log_file_holds_all_of_it(trained):
    folder, printed = trained
    lines = printed.splitlines()
    (first, *_) = [number for number, line in enumerate(lines) if 'step 1/3' in line]
    assert first <= 24, lines
    for said in (
        'losses     dino (DINOLoss)',
        'vit_tiny_patch16_224, 19,520 parameters',
        'images     12 in batches of 4',
        'in fp32 on ',
        '3 iterations',
        f'{folder / "out"} (checkpoints)',
        'the same command with --resume',
    ):
        assert said in '\n'.join(lines[:first])
    (log,) = (folder / 'out').glob('*/*.log')
    whole = log.read_text()
    for part in ('System environment:', 'Runtime environment:', 'prototypes=64', 'Hooks will be executed'):
        assert part in whole
    assert all(re.sub(r'^[\d/]+ [\d:]+ (WARNING )?', '', line) in whole for line in lines if ' step ' not in line)
    assert whole.count('Epoch(train)') == whole.count('grad_norm: ') == 3


TOOLS = [
    'train', 'test', 'browse_views', 'visualize_attention', 'visualize_features', 'measure_normalisation', 'retrieve',
    'compare_heads', 'benchmark', 'quickstart', 'prompt',
]  # fmt: skip
HEAVY = ['torch', 'mmengine', 'timm', 'cv2', 'rich', 'numpy']


@pytest.mark.parametrize('tool', TOOLS)
@pytest.mark.parametrize('arguments', [['--help'], ['--no-such-option']])
def test_help_and_wrong_usage_are_answered_before_anything_heavy_is_imported(tool, arguments, repository):
    program = (
        'import atexit, runpy, sys\n'
        f'atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]))\n'
        f'sys.argv = {[f"{tool}.py", *arguments]}\n'
        f'sys.path[0] = {str(repository / "tools")!r}\n'
        f'runpy.run_path({str(repository / "tools" / tool)!r} + ".py", run_name="__main__")\n'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == (0 if arguments == ['--help'] else 2), done.stderr
    assert done.stdout.splitlines()[-1] == '[]'
    assert f'usage: {tool}.py' in done.stdout + done.stderr


@pytest.mark.parametrize('tool', ['train', 'test', 'browse_views', 'measure_normalisation'])
def test_help_explains_the_options_by_an_example_that_is_right(tool, repository, parse):
    done = subprocess.run([sys.executable, repository / f'tools/{tool}.py', '--help'], capture_output=True, text=True)
    (example,) = [line for line in done.stdout.splitlines() if line.startswith('  --cfg-options train_dataloader')]
    cfg = parse(CUSTOM, *example.split())
    assert cfg.train_dataloader.dataset.dataset.data_root == 'my/images'
    assert cfg.train_cfg.max_epochs == 10


# --- test.py ----------------------------------------------------------------------------------------------------------


def test_a_missing_checkpoint_is_told_before_anything_begins(repository, tmp_path):
    command = [sys.executable, repository / 'tools/test.py', 'knn/knn_folder.py', 'missing.pth']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert 'argument checkpoint: missing.pth does not exist' in done.stderr and 'Traceback' not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_long_name_of_a_checkpoint_stays_in_one_line_above_the_results(repository, monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '40')
    title = f'knn_folder: work_dirs/{"a-long-name-" * 10}/epoch_100.pth'
    results = {'knn/top1': 41.234, 'video/learning_rate': 3e-4, 'depth/abs_rel': 0.07256}
    runpy.run_path(str(repository / 'tools/test.py'))['show'](results, title)
    printed = capsys.readouterr().out
    assert title in printed.splitlines()
    for shown in ('41.23 ', '0.0003 ', '0.0726 '):
        assert shown in printed


# --- launchers --------------------------------------------------------------------------------------------------------


def launch(script: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', script, *arguments], env={**os.environ, **env}, capture_output=True, text=True, cwd='/'
    )


def test_dist_train_starts_one_process_for_each_gpu_of_each_machine(repository):
    script = repository / 'tools/dist_train.sh'
    line = launch(script, 'a.py', '8', '--resume', PYTHON='echo').stdout
    assert '-m torch.distributed.run --nnodes=1 --node_rank=0 --nproc_per_node=8 --master_addr=127.0.0.1' in line
    assert line.strip().endswith('tools/train.py a.py --launcher pytorch --resume')
    assert '--max_restarts=0' in line
    assert '--max_restarts=3' in launch(script, 'a.py', '8', PYTHON='echo', MAX_RESTARTS='3').stdout
    line = launch(
        script, 'a.py', '4', PYTHON='echo', NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='1'
    ).stdout
    assert '--nnodes=2 --node_rank=1 --nproc_per_node=4 --master_addr=10.0.0.1 --master_port=1' in line


@pytest.mark.skipif(sys.platform != 'linux', reason='finds the processes in /proc')
def test_torchrun_starts_a_stopped_training_again_and_it_goes_on(repository, twelve_images, tmp_path):
    """Its process is told to stop, not torchrun. That two processes stop together: `engine/training/test_stop.py`."""
    flags = ['--work-dir', str(tmp_path / 'out'), *tiny(twelve_images)]
    length = ['train_cfg.max_epochs=80', 'default_hooks.checkpoint.interval=80', 'default_hooks.logger.interval=10']
    env = dict(os.environ, PYTHON=sys.executable, MAX_RESTARTS='1', PORT='29617', OMP_NUM_THREADS='1')
    script = repository / 'tools/dist_train.sh'
    with open(tmp_path / 'log', 'w') as log:
        launcher = subprocess.Popen(
            ['bash', script, f'configs/{CUSTOM}', '1', *flags, *length], env=env, stdout=log, stderr=log
        )
    try:
        wait_for(tmp_path / 'log', 'step ', launcher)
        os.kill(children(launcher.pid)[-1], signal.SIGUSR1)
        assert launcher.wait(240) == 0, (tmp_path / 'log').read_text()
    finally:
        for process in children(launcher.pid) if launcher.poll() is None else []:
            os.kill(process, signal.SIGKILL)
        launcher.kill()
    said = (tmp_path / 'log').read_text()
    (stop,) = re.findall(r'SIGUSR1 stopped training after iteration (\d+), saved in (.*)\. To continue', said)
    assert f'--resume: goes on from {stop[1]}, because last_checkpoint names it' in said
    assert load_checkpoint(tmp_path / 'out' / 'epoch_80.pth')['meta']['iter'] == 240
    assert 0 < int(stop[0]) < 240


def wait_for(log: Path, text: str, process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{process}/task/{process}/children').read_text().split()]


def test_dist_test_passes_config_checkpoint_and_flags(repository):
    line = launch(repository / 'tools/dist_test.sh', 'a.py', 'b.pth', '2', '--work-dir', 'c d', PYTHON='echo').stdout
    assert '--nproc_per_node=2' in line
    assert line.strip().endswith('tools/test.py a.py b.pth --launcher pytorch --work-dir c d')


def test_slurm_train_asks_for_the_gpus_of_the_environment(repository, tmp_path):
    fake = tmp_path / 'srun'
    fake.write_text('#!/usr/bin/env bash\necho "$@"\n')
    fake.chmod(0o755)
    env = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='4', CPUS_PER_TASK='3', SRUN_ARGS='--time=10 --exclusive')
    line = launch(repository / 'tools/slurm_train.sh', 'part', 'job', 'a.py', 'out', '--resume', **env).stdout
    for option in ('--partition=part', '--job-name=job', '--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4'):
        assert option in line
    assert '--cpus-per-task=3' in line
    assert '--time=10 --exclusive' in line
    assert line.strip().endswith('tools/train.py a.py --work-dir out --launcher slurm --resume')


SBATCH = """#!/usr/bin/env bash
echo "sbatch $*" >> "$LOG"
for argument in "$@"; do
    case "$argument" in --wrap=*) sh -c "${argument#--wrap=}" & ;; esac
done
until grep -q srun "$LOG"; do sleep 0.05; done
sleep 0.3
[ -z "$SIGNAL" ] || kill "-$SIGNAL" $!
wait $!
echo "ended with $?" >> "$LOG"
"""
SRUN = """#!/usr/bin/env bash
trap 'echo "was told to stop" >> "$LOG"; exit 75' USR1 TERM
echo "srun $*" >> "$LOG"
for _ in $(seq ${SECONDS_OF_TRAINING}0); do sleep 0.1; done
exit $ENDS_WITH
"""


SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then echo "   PreemptEligibleTime=2026-11-28T15:26:37 PreemptTime=$PREEMPTED"; exit; fi
echo "scontrol $*" >> "$LOG"
"""


@pytest.mark.parametrize(('sent', 'preempted', 'seconds', 'ends_with', 'status', 'again'), [
    ('USR1', 'None', '20', '0', 75, True),  # before the time limit
    ('TERM', '2026-11-28T15:27:35', '20', '0', 75, True),
    ('', '2026-11-28T15:27:35', '0', '75', 75, True),  # in the grace time the training alone hears of it
    ('TERM', 'None', '20', '0', 75, False),  # a person cancels the job
    ('', 'None', '0', '0', 0, False),
    ('', 'None', '0', '1', 1, False),  # a mistake would come again and again
])  # fmt: skip
def test_a_job_goes_back_into_slurms_queue_when_its_time_ends_or_another_takes_its_place(
    repository, tmp_path, sent, preempted, seconds, ends_with, status, again
):
    for name, script in dict(sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL).items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    env = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', LOG=str(tmp_path / 'log'), SIGNAL=sent, REQUEUE='1')
    env['PREEMPTED'] = preempted
    env |= dict(GPUS='2', SLURM_JOB_ID='42', SECONDS_OF_TRAINING=seconds, ENDS_WITH=ends_with, SRUN_ARGS='--time=10')
    work_dir = tmp_path / 'work dir'
    launch(repository / 'tools/slurm_train.sh', 'part', 'job', 'a.py', str(work_dir), **env)
    submitted, *rest = (tmp_path / 'log').read_text().splitlines()
    for option in ('--requeue', '--signal=B:USR1@120', '--open-mode=append', '--time=10', '--gres=gpu:2'):
        assert option in submitted
    assert rest[0].endswith(f'tools/train.py a.py --work-dir {work_dir} --launcher slurm')
    expected = [*(['was told to stop'] if sent else []), *(['scontrol requeue 42'] if again else [])]
    assert rest[1:] == [*expected, f'ended with {status}']


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_a_launcher_without_arguments_says_how_it_is_called(name, repository):
    done = launch(repository / 'tools' / name)
    assert done.returncode == 2
    assert f'bash tools/{name}' in done.stderr


@pytest.mark.parametrize(
    'path', ['tools/quickstart.sh', 'tools/run_tests.sh', 'tools/build_docs.sh', 'tools/setup_env.sh', '.ci/run']
)
def test_a_script_is_valid_bash(path, repository):
    subprocess.run(['bash', '-n', repository / path], check=True)


# --- set-up -----------------------------------------------------------------------------------------------------------


class Checkout:
    """A copy of the scripts with a Python that only writes down how it was called."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.root = folder / 'check out'  # a path with a space
        self.root.mkdir()
        shutil.copytree(repository / 'tools', self.root / 'tools')
        for name in ('setup.cfg', 'setup.py', 'pyproject.toml'):
            shutil.copy(repository / name, self.root)
        self.log = folder / 'calls'
        self.python = folder / 'python'
        self.python.write_text(
            '#!/usr/bin/env bash\n'
            f'echo "$*" >> "{self.log}"\n'
            'if [ "$1" = --version ]; then echo Python 3.9.1; fi\n'
            'if [ "$1" = -m ] && [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
            'if [ "$1" = -c ] && [[ "$2" == *"$FAILING"* ]] && [ -n "$FAILING" ]; then exit 1; fi\n'
        )
        self.python.chmod(self.python.stat().st_mode | stat.S_IEXEC)

    def run(
        self, script: str, *arguments: str, failing: str = '', **env: str
    ) -> tuple[subprocess.CompletedProcess, str]:
        self.log.write_text('')
        env = {**os.environ, 'PYTHON': str(self.python), 'FAILING': failing, **env}
        command = ['bash', self.root / 'tools' / script, *arguments]
        done = subprocess.run(command, env=env, cwd='/', capture_output=True, text=True)
        return done, self.log.read_text()


@pytest.fixture
def checkout(repository, tmp_path) -> Checkout:
    return Checkout(repository, tmp_path)


def test_the_first_call_sets_up_and_the_second_needs_no_network(checkout):
    done, calls = checkout.run('run_tests.sh', 'tests/core', '-x')
    assert done.returncode == 0, done.stderr
    assert '-m venv .venv' in calls
    assert '--editable .[onedl,lightly,onnx,detection,test,docs]' in calls
    assert '--no-deps onedl-mmdetection' in calls
    assert calls.strip().endswith('-m pytest -n 2 --dist loadfile tests/core -x')
    done, calls = checkout.run('run_tests.sh')
    assert done.returncode == 0
    assert calls.strip().splitlines() == ['-c ', '-m pytest -n 2 --dist loadfile']
    assert done.stdout == ''


def test_the_site_is_built_with_warnings_as_errors_and_served_on_this_machine_alone(checkout):
    done, calls = checkout.run('build_docs.sh', '--serve', '8123')
    assert done.returncode == 0, done.stderr
    assert '--editable .[onedl,docs]' in calls
    built, served = calls.strip().splitlines()[-2:]
    assert built == '-m sphinx -c docs . docs/_build/html --fail-on-warning --keep-going --quiet'
    assert served == '-m http.server --bind 127.0.0.1 --directory docs/_build/html 8123'
    assert checkout.run('build_docs.sh', '--open')[0].returncode == 2


def test_the_quickstart_uses_what_the_tests_installed(checkout):
    checkout.run('run_tests.sh')
    _, calls = checkout.run('quickstart.sh', '--steps', '60')
    assert 'pip' not in calls
    assert calls.strip().endswith('tools/quickstart.py --steps 60')


def test_the_tests_install_what_the_quickstart_did_not(checkout):
    _, calls = checkout.run('quickstart.sh')
    assert '--editable .[onedl]' in calls
    _, calls = checkout.run('run_tests.sh')
    assert 'venv' not in calls
    assert '--editable .[onedl,lightly,onnx,detection,test,docs]' in calls


def test_changed_dependencies_are_installed(checkout):
    checkout.run('quickstart.sh')
    with (checkout.root / 'setup.cfg').open('a') as file:
        file.write('# changed\n')
    _, calls = checkout.run('quickstart.sh')
    assert '--editable .[onedl]' in calls


def test_a_broken_environment_is_made_again(checkout):
    checkout.run('quickstart.sh')
    (checkout.root / '.venv/bin/python').write_text('#!/usr/bin/env bash\nexit 127\n')
    done, calls = checkout.run('quickstart.sh')
    assert done.returncode == 0, done.stderr
    assert '-m venv .venv' in calls


def test_an_old_python_is_refused_with_the_way_out(checkout):
    done, calls = checkout.run('quickstart.sh', failing='version_info')
    assert done.returncode == 1
    assert 'Python 3.9.1 is too old: Python 3.10 or newer is needed' in done.stderr
    assert 'PYTHON=/path/to' in done.stderr
    assert 'venv' not in calls
    assert not (checkout.root / '.venv').exists()


def test_a_missing_python_is_refused_with_the_way_out(checkout):
    done, _ = checkout.run('quickstart.sh', PYTHON='no-such-python')
    assert done.returncode == 1
    assert 'No no-such-python found' in done.stderr


def test_an_opencv_that_does_not_load_is_explained_and_tried_again(checkout):
    done, _ = checkout.run('quickstart.sh', failing='import cv2')
    assert done.returncode == 1
    assert 'apt-get install -y libgl1 libglib2.0-0' in done.stderr
    _, calls = checkout.run('quickstart.sh')
    assert '--editable .[onedl]' in calls
