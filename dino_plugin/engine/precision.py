"""precision='auto': bf16 where the hardware computes in it, fp32 elsewhere.

The properties of the hardware decide and never a timing, so that a resumed run keeps its precision.
"""

from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

import torch

# Linux's names for products in bf16 on x86 (AVX-512, AMX) and on ARM. Other processors emulate them, slower than fp32.
CPU_FLAGS = ('avx512_bf16', 'amx_bf16', 'bf16')
CPUINFO = Path('/proc/cpuinfo')
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Choice(NamedTuple):
    """A precision, the reason for it, and the alternative to try."""

    precision: str
    reason: str
    alternative: str


def choose_precision(device: torch.device) -> Choice:
    """'bf16' or 'fp32' for this device."""
    if device.type == 'cuda':
        with torch.cuda.device(device):
            computes = torch.cuda.is_bf16_supported(including_emulation=False)
        return for_gpu(torch.cuda.get_device_name(device), computes)
    if device.type == 'cpu':
        return for_cpu(cpu_flags())
    return Choice('fp32', f'it is unknown whether {device.type} computes in bf16', 'bf16')


def for_gpu(name: str, computes_in_bf16: bool) -> Choice:
    """The choice for a GPU; NVIDIA's compute in bf16 since Ampere."""
    if computes_in_bf16:
        return Choice('bf16', f'{name} computes in it', 'fp32')
    return Choice('fp32', f'{name} does not compute in bf16; fp16 is the fast choice there', 'fp16')


def for_cpu(flags: Set[str]) -> Choice:
    """The choice for a processor with these flags; without flags nothing is known about it."""
    if not flags:
        return Choice('fp32', 'it is unknown whether this processor computes in bf16', 'bf16')
    found = [flag for flag in CPU_FLAGS if flag in flags]
    if found:
        return Choice('bf16', f'this processor computes in it ({", ".join(found)})', 'fp32')
    return Choice('fp32', f'this processor has no bf16 arithmetic (none of {", ".join(CPU_FLAGS)})', 'bf16')


def cpu_flags() -> frozenset[str]:
    """Features that all cores have, from Linux's list ('flags' on x86, 'Features' on ARM); empty elsewhere."""
    try:
        lines = CPUINFO.read_text(errors='replace').splitlines()
    except OSError:
        return frozenset()
    cores = {tuple(line.partition(':')[2].split()) for line in lines if line.startswith(('flags', 'Features'))}
    return frozenset.intersection(*map(frozenset, cores)) if cores else frozenset()
