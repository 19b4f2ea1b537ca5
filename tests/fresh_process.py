"""Run code in a process that has imported nothing of OpenMMLab's and nothing of ours.

It is forked from a server that has imported PyTorch and timm, which is four of the five seconds that a Python of its
own would take.
"""

import multiprocessing
import os
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['torch', 'torchvision.models', 'timm', 'transformers', 'yapf.yapflib.yapf_api'])


def run_in_fresh_process(code: str, folder: Path | None = None) -> str:
    """What the code prints; its configs are written as they are, see `unformatted_configs` in conftest.py."""
    with tempfile.TemporaryDirectory() as own:
        files = [f'{own}/output', f'{own}/errors']
        arguments = (textwrap.dedent(code), str(folder or own), files, dict(os.environ))
        process = SERVER.Process(target=_execute, args=arguments)
        process.start()
        process.join()
        output, errors = (Path(file).read_text() for file in files)
    assert process.exitcode == 0, output + errors
    return output


def _execute(code: str, folder: str, files: list[str], environment: dict[str, str]) -> None:
    import torch
    from yapf.yapflib import yapf_api

    for number, name in enumerate(files, start=1):
        with open(name, 'w') as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, 'w', buffering=1) for number in (1, 2))
    os.environ.clear()
    os.environ |= environment
    os.chdir(folder)
    torch.set_num_threads(1)
    yapf_api.FormatCode = lambda text, **_: (text, False)
    try:
        imported = {'dino_plugin', 'mmengine', 'mmcv', 'mmseg'} & sys.modules.keys()
        assert not imported, f'{imported} must not be imported yet'
        exec(compile(code, '<fresh process>', 'exec'), {'__name__': '__main__'})
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
