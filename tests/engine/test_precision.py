"""precision='auto': which precision a device gets, and that training under it is training in that precision."""

import copy
import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from small_training import build_runner, small_config
from torch import nn

from dino_plugin.engine import precision
from dino_plugin.engine.precision import PRECISIONS, choose_precision, for_cpu, for_gpu

X86 = 'processor\t: {core}\nmodel name\t: Some CPU\nflags\t\t: fpu sse2 avx512f {flags}\nbugs\t\t: spectre\n\n'
ARM = 'processor\t: {core}\nBogoMIPS\t: 50.0\nFeatures\t: fp asimd {flags}\nCPU part\t: 0xd40\n\n'


@pytest.mark.parametrize(
    ('cpuinfo', 'cores', 'expected'),
    [
        (X86, ['avx512_vnni', 'avx512_vnni'], 'fp32'),
        (X86, ['avx512_vnni avx512_bf16'] * 2, 'bf16'),
        (X86, ['amx_bf16 amx_tile'] * 2, 'bf16'),
        (X86, ['avx512_bf16', ''], 'fp32'),
        (ARM, ['i8mm bf16'] * 2, 'bf16'),
        (ARM, ['i8mm', 'i8mm bf16'], 'fp32'),
        (ARM, ['asimdhp', 'asimdhp'], 'fp32'),
    ],
    ids=lambda value: {X86: 'x86', ARM: 'arm'}.get(value) if isinstance(value, str) else '/'.join(value) or None,
)
def test_a_processor_gets_bf16_if_every_core_of_it_has_the_flag(cpuinfo, cores, expected, tmp_path, monkeypatch):
    path = tmp_path / 'cpuinfo'
    path.write_text(''.join(cpuinfo.format(core=core, flags=flags) for core, flags in enumerate(cores)))
    monkeypatch.setattr(precision, 'CPUINFO', path)
    assert choose_precision(torch.device('cpu')).precision == expected


def test_a_processor_that_tells_nothing_gets_fp32(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, 'CPUINFO', tmp_path / 'none')
    choice = choose_precision(torch.device('cpu'))
    assert (choice.precision, choice.alternative) == ('fp32', 'bf16')
    assert 'it is unknown' in choice.reason
    (tmp_path / 'none').write_text('processor : 0\n')
    assert choose_precision(torch.device('cpu')) == choice


def test_a_gpu_gets_bf16_if_it_computes_in_it_and_otherwise_hears_of_fp16(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'GPU {device.index}')
    for computes in (True, False):
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda **how: asked.append(how) or computes)  # noqa: B023
        monkeypatch.setattr(torch.cuda, 'device', torch.device)  # a context too, and asks for no GPU
        assert choose_precision(torch.device('cuda', 1)) == for_gpu('GPU 1', computes)
    assert asked == [dict(including_emulation=False)] * 2  # a T4 emulates bf16, and slowly
    assert for_gpu('H100', True).precision == 'bf16'
    old = for_gpu('Tesla T4', False)
    assert (old.precision, old.alternative) == ('fp32', 'fp16')
    assert 'Tesla T4' in old.reason and 'fp16 is the fast choice' in old.reason


@pytest.mark.parametrize('kind', ['mps', 'xpu'])
def test_other_devices_get_fp32(kind):
    assert choose_precision(torch.device(kind)).precision == 'fp32'


@pytest.fixture
def log():
    """The lines of mmengine's log."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage()))

    logger, handler = MMLogger.get_current_instance(), Lines()
    level = logger.level
    logger.setLevel('INFO')
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def wrap(model, **arguments):
    optimizer = dict(type='AdamW', lr=0.1, fused=True)
    return build_optim_wrapper(
        model, dict(type='dino_plugin.SelfDistillationOptimWrapper', optimizer=optimizer, **arguments)
    )


def train(model, wrapper):
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        with wrapper.optim_context(model):
            loss = (model(torch.randn(8, 64, generator=generator)).float() ** 2).mean()
        wrapper.update_params(loss)
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize('flags', [{'avx512_bf16'}, {'avx2'}, set(), None])
def test_a_step_under_auto_is_a_step_in_the_precision_that_the_log_names(flags, monkeypatch, log):
    """None: the flags of the machine that runs the test."""
    if flags is not None:
        monkeypatch.setattr(precision, 'cpu_flags', lambda: frozenset(flags))
    chosen = for_cpu(precision.cpu_flags())
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    trained = {}
    for name in ('fp32', 'bf16'):
        copied = copy.deepcopy(model)
        trained[name] = train(copied, wrap(copied, precision=name))
    assert not log  # nothing was left to choose
    wrapper = wrap(model)  # the default
    assert all(map(torch.equal, train(model, wrapper), trained[chosen.precision]))
    other = 'fp32' if chosen.precision == 'bf16' else 'bf16'
    assert not all(map(torch.equal, model.parameters(), trained[other]))
    assert (wrapper.precision, wrapper.dtype) == (chosen.precision, PRECISIONS[chosen.precision])
    ((_, line),) = log
    assert line == (
        f"precision='auto' is {chosen.precision}: {chosen.reason}. "
        f'To choose otherwise: --cfg-options optim_wrapper.precision={other}'
    )


def test_a_run_resumed_in_another_precision_says_so(tmp_path, monkeypatch):
    config = small_config(tmp_path, train_cfg__max_epochs=1, optim_wrapper__precision='fp32')
    build_runner(config).train()
    monkeypatch.setattr(precision, 'cpu_flags', lambda: frozenset({'avx512_bf16'}))
    config = small_config(tmp_path, train_cfg__max_epochs=2, resume=True, optim_wrapper__precision='auto')
    resumed = build_runner(config)
    own = []
    monkeypatch.setattr('dino_plugin.engine.training.optim_wrapper.print_log', lambda line, *_: own.append(line))
    resumed.train()
    assert resumed.optim_wrapper.precision == 'bf16'
    assert [line for line in own if 'trained in fp32' in line] == [
        'The checkpoint was trained in fp32, this run goes on in bf16. To keep fp32: '
        '--cfg-options optim_wrapper.precision=fp32'
    ]
