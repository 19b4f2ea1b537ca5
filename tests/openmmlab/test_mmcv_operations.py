"""mmsegmentation on an mmcv without compiled operations."""

from importlib.util import find_spec

import pytest
from fresh_process import run_in_fresh_process

from dino_plugin.openmmlab.mmcv_operations import OperationsFinder

without_operations = pytest.mark.skipif(
    find_spec('mmcv._ext') is not None, reason='mmcv has its compiled operations here: nothing stands in for them'
)
FIRST = (
    'import sys; from dino_plugin.openmmlab.mmcv_operations import OperationsFinder as F; '
    'sys.meta_path.insert(0, F())\n'
)


def run(script: str) -> str:
    return run_in_fresh_process(FIRST + script)


@without_operations
def test_what_needs_no_compiler_is_mmcvs_own_and_the_rest_is_refused():
    """Points in the middle of four pixels, and outside the image."""
    said = run(
        'import torch\n'
        'from mmcv.ops import point_sample, sigmoid_focal_loss\n'
        'image = torch.arange(16.).view(1, 1, 4, 4)\n'
        'points = torch.tensor([[[0.5, 0.5], [0.375, 0.625], [0.125, 0.125]]])\n'
        'print(point_sample(image, points, align_corners=False).flatten().tolist())\n'
        'try: sigmoid_focal_loss()\n'
        'except ModuleNotFoundError as error: print(error)\n'
        'try: from mmcv.ops import nms\n'
        'except ModuleNotFoundError as error: print(error)\n'
    )
    values, loss, nms = said.strip().splitlines()
    assert values == '[7.5, 9.0, 0.0]'
    for name, line in (('sigmoid_focal_loss', loss), ('nms', nms)):
        assert line.startswith(f'mmcv.ops.{name} is a compiled operation')
        assert 'install mmcv' in line


@without_operations
def test_mmsegmentation_can_be_imported():
    assert run('import mmseg.models; print(mmseg.models.EncoderDecoder.__name__)').split() == ['EncoderDecoder']


def test_compiled_operations_are_left_alone(tmp_path, monkeypatch):
    package = tmp_path / 'mmcv'
    (package / 'ops').mkdir(parents=True)
    for name in ('__init__.py', 'ops/__init__.py'):
        (package / name).touch()
    finder, where = OperationsFinder(), [str(package)]
    assert finder.find_spec('mmcv.ops', where).loader is finder
    (package / '_ext.py').touch()
    assert finder.find_spec('mmcv.ops', where) is None
    assert finder.find_spec('mmcv', None) is None
