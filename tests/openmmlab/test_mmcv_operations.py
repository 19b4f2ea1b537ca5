"""mmsegmentation and mmdetection on an mmcv without compiled operations."""

from importlib.util import find_spec

import pytest
from fresh_process import run_in_fresh_process

from dino_plugin.openmmlab.mmcv_operations import OperationsFinder

without_operations = pytest.mark.skipif(
    find_spec('mmcv._ext') is not None, reason='mmcv has its compiled operations here: nothing stands in for them'
)
FIRST = 'from dino_plugin.openmmlab.mmcv_operations import _provide; _provide()\n'


def run(script: str) -> str:
    return run_in_fresh_process(FIRST + script)


@without_operations
def test_mmcvs_operations_are_its_own_and_what_nothing_stands_in_for_is_refused_when_used():
    """Points in the middle of four pixels, and outside the image."""
    said = run(
        'import torch\n'
        'from mmcv.ops import point_sample, soft_nms, batched_nms, RoIAlign, DeformConv2d\n'
        'image = torch.arange(16.).view(1, 1, 4, 4)\n'
        'points = torch.tensor([[[0.5, 0.5], [0.375, 0.625], [0.125, 0.125]]])\n'
        'print(point_sample(image, points, align_corners=False).flatten().tolist())\n'
        'boxes = torch.tensor([[0., 0, 9, 9], [1, 0, 9, 9], [1, 0, 9, 9]])\n'
        'scores, classes = torch.tensor([0.5, 0.7, 0.6]), torch.tensor([0, 0, 1])\n'
        "print(batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.5))[1].tolist())\n"
        'try: soft_nms(boxes, scores)\n'
        'except RuntimeError as error: print(error)\n'
        "layer = RoIAlign(2, 1.0, 0, 'avg', True, use_torchvision=False)\n"
        'image.requires_grad_()\n'
        'layer(image, torch.tensor([[0., 0, 0, 4, 4]])).sum().backward()\n'
        'print(image.grad.sum().item())\n'
    )
    values, kept, refused, gradient = said.strip().splitlines()
    assert values == '[7.5, 9.0, 0.0]'
    assert kept == '[1, 2]'
    assert refused.startswith('softnms is a compiled operation of mmcv') and 'Install an mmcv' in refused
    assert float(gradient) == pytest.approx(4)


@without_operations
def test_mmsegmentation_can_be_imported():
    assert run('import mmseg.models; print(mmseg.models.EncoderDecoder.__name__)').split() == ['EncoderDecoder']


@without_operations
def test_nothing_changes_before_mmdetection_is_imported():
    script = 'import dino_plugin, mmengine\nfrom mmengine.utils.dl_utils import mmcv_full_available\n'
    assert run_in_fresh_process(script + 'print(mmcv_full_available())').split() == ['False']


def test_compiled_operations_are_left_alone(tmp_path, monkeypatch):
    package = tmp_path / 'mmcv'
    (package / 'ops').mkdir(parents=True)
    for name in ('__init__.py', 'ops/__init__.py'):
        (package / name).touch()
    finder, where = OperationsFinder(), [str(package)]
    assert finder.find_spec('mmcv._ext', where).loader is finder
    assert finder.find_spec('mmcv.ops', where) is None
    (package / '_ext.py').touch()
    assert finder.find_spec('mmcv._ext', where) is None
