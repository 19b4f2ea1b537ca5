"""The machine on which something was measured: figures mean nothing without it."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import torch

# Vector instructions on which the fast paths lean, by the names of Linux.
FLAGS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16')
PACKAGES = ('torch', 'torchvision', 'timm', 'pillow', 'mmengine', 'onedl-mmengine', 'mmcv', 'onedl-mmcv', 'lightly')


def describe_machine() -> dict[str, Any]:
    """Processor, memory, GPU, versions and load, as they are now; what cannot be found out is None."""
    processor = _processor()
    flags = processor.get('flags', '').split()
    return dict(
        cpu=processor.get('model name') or platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        cores_available=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else None,
        threads=torch.get_num_threads(),
        torch_capability=torch.backends.cpu.get_cpu_capability(),
        flags={flag: flag in flags for flag in FLAGS} if flags else None,
        ram_gib=_ram(),
        gpu=_gpu(),
        load_average=list(os.getloadavg()) if hasattr(os, 'getloadavg') else None,
        python=platform.python_version(),
        system=platform.platform(),
        versions={**_versions(), 'cv2': cv2.__version__, 'cuda': torch.version.cuda},
    )


def in_words(machine: dict[str, Any]) -> str:
    """A few lines for people."""
    flags = [name for name, there in (machine['flags'] or {}).items() if there]
    gpu = machine['gpu']
    load = ', '.join(f'{value:.1f}' for value in machine['load_average'] or [])
    names = ('torch', 'torchvision', 'timm', 'cv2', 'pillow')
    return '\n'.join(
        [
            f'{machine["cpu"]}, {machine["cores"]} cores, {machine["threads"]} thread(s) used, '
            f'{machine["torch_capability"]} ({" ".join(flags) or "flags unknown"}), RAM {machine["ram_gib"]} GiB',
            f'{gpu["name"]}, {gpu["memory_gib"]} GiB, driver {gpu["driver"]}' if gpu else 'no GPU',
            ', '.join(f'{name} {machine["versions"].get(name)}' for name in names)
            + f'; load average {load or "unknown"}',
        ]
    )


def _processor() -> dict[str, str]:
    """Of the first core; empty where the system is no Linux."""
    table = Path('/proc/cpuinfo')
    if not table.is_file():
        return {}
    pairs = (line.partition(':') for line in table.read_text(encoding='utf8').split('\n\n')[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _ram() -> float | None:
    try:
        return round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    memory = round(properties.total_memory / 2**30, 1)
    return dict(name=properties.name, count=torch.cuda.device_count(), memory_gib=memory, driver=_driver())


def _driver() -> str | None:
    query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
