"""What the figures of the other parts are figures of."""

import argparse
import importlib.util
import os
import shutil
import subprocess

import torch

from benchmark.report import describe_machine
from gpu_checks.findings import Findings


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Without the device that is asked for, the check 'device' fails, and no other part is started."""
    there = options.device == 'cpu' or torch.cuda.is_available()
    findings.check('device', there, options.device if there else 'no GPU: torch.cuda.is_available() is False')
    gpu = _describe_gpu() if options.device == 'cuda' and there else {}
    missing = missing_compiler(options.device)
    findings.measure('machine', **describe_machine(), **gpu, compiler=missing or 'found')


def missing_compiler(device: str) -> str:
    """Why ``torch.compile`` cannot work here; empty if nothing speaks against it."""
    given = [os.environ.get(name, '') for name in ('CC', 'CXX')]
    if not any(map(shutil.which, filter(None, [*given, 'g++', 'clang++', *(['gcc', 'cc'] * (device == 'cuda'))]))):
        return 'no compiler: torch.compile needs gcc or clang'
    if device == 'cuda' and importlib.util.find_spec('triton') is None:
        return 'no triton, which torch.compile needs on a GPU'
    return ''


def _describe_gpu() -> dict[str, str]:
    properties = torch.cuda.get_device_properties(0)
    return dict(
        driver=_driver(),
        memory=f'{properties.total_memory / 2**30:.1f} GiB',
        capability='.'.join(map(str, torch.cuda.get_device_capability())),
        cuda=f'{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}',
        bf16=str(torch.cuda.is_bf16_supported(including_emulation=False)),
    )


def _driver() -> str:
    query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return f'unknown ({type(error).__name__})'
