"""Run something in a process that has imported nothing of OpenMMLab's and nothing of ours.

It is forked from a server that has imported PyTorch and timm, which is four of the five seconds that a Python of its
own would take. No type checker looks on: it costs time and draws from Python's random numbers.
"""

import io
import multiprocessing
import os
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(
    ['torch', 'torch.distributed.fsdp', 'torch._dynamo', 'torchvision.models', 'timm', 'yapf.yapflib.yapf_api']
)


def call_in_fresh_process(function: Callable, *arguments) -> Any:
    """What the function returns there; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=SERVER, initializer=_prepare, initargs=(dict(os.environ),)) as pool:
        return pool.submit(function, *arguments).result()


def run_in_fresh_process(code: str, folder: Path | None = None) -> str:
    """What the code prints, with this working folder."""
    return call_in_fresh_process(_execute, textwrap.dedent(code), folder or Path.cwd())


def leave_configs_unformatted() -> None:
    """mmengine writes each config into log and checkpoint through yapf, which takes seconds; code is code without."""
    from yapf.yapflib import yapf_api

    yapf_api.FormatCode = lambda code, **_: (code, False)


def _prepare(environment: dict[str, str]) -> None:
    import torch

    os.environ.clear()
    os.environ |= environment
    torch.set_num_threads(1)
    leave_configs_unformatted()


def _execute(code: str, folder: Path) -> str:
    os.chdir(folder)
    assert not {'dino_plugin', 'mmengine', 'mmcv', 'mmseg'} & sys.modules.keys()
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, '<fresh process>', 'exec'), {'__name__': '__main__'})
    return printed.getvalue()
