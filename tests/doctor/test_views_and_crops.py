"""Views of a batch: order, patches, masks, positions; and how much of an image they show."""

import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from doctor_levels import levels
from torch import nn

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.mmcv_transforms import MultiCropTransform
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.doctor.crops import crops_of, judge_crops, look_at_crops
from dino_plugin.doctor.views import judge_grid, judge_order


def test_patches_masks_positions_and_order_are_judged():
    backbone = nn.Module()
    backbone.patch_size = (4, 4)
    backbone.model = SimpleNamespace(pos_embed=1, patch_embed=SimpleNamespace(grid_size=(9, 9)))
    views, masks = torch.randn(2, 3, 3, 16, 8), torch.zeros(2, 3, 4, 2, dtype=torch.bool)
    masks[0, :, 0] = True  # a quarter of the patches in half of the views
    said = {finding.subject: finding for finding in judge_grid(backbone, ViewBatch(views, masks=masks))}
    assert said['patches'].found == '4 x 2 patches of 4 x 4 pixels' and '9 x 9' in said['positions'].found
    assert said['masks'].found == '12% of the patches, in 50% of the views'
    assert levels(judge_grid(backbone, ViewBatch(views, masks=masks[..., :1])))['masks'] == 'fault'
    assert levels(judge_grid(backbone, ViewBatch(views, masks=masks & False)))['masks'] == 'fault'
    assert levels(judge_grid(backbone, ViewBatch(views[..., :7])))['patches'] == 'warning'
    assert levels(judge_order([4, 5, 6, 7])) != levels(judge_order([4, 6, 5, 7]))


def test_the_share_of_an_image_that_a_global_view_shows_is_that_of_its_boxes(tmp_path):
    random.seed(0)
    cv2.imwrite(str(tmp_path / 'wide.png'), np.zeros((300, 400, 3), np.uint8))
    (tmp_path / 'empty.png').write_bytes(b'')
    paths = [str(tmp_path / 'wide.png')] * 256 + [str(tmp_path / 'empty.png')]
    share, enlarged = look_at_crops(MultiCrop(global_scale=(0.01, 0.03), global_size=(60, 90)), paths)
    assert share == pytest.approx(0.02, rel=0.05)  # the mean of a uniform share
    assert enlarged == pytest.approx(60 / 49, rel=0.1)  # sqrt(0.02 * 300 * 400) = 49 rows
    assert look_at_crops(MultiCrop(), paths[-1:])[0] == 0 and judge_crops(0, 0) == []
    said = [judge_crops(share, 2.0)[0].level for share in (0.54, 0.2, 0.02)]
    assert said == ['ok', 'notice', 'warning']


def test_the_crops_of_every_pipeline_are_found():
    crop = MultiCropTransform(global_size=32, local_size=16)
    one = SimpleNamespace(pipeline=SimpleNamespace(transforms=[crop]))
    both = SimpleNamespace(pipelines=[one.pipeline, one.pipeline])
    assert [*crops_of(one), *crops_of(both)] == [crop.multi_crop] * 3 and not [*crops_of(SimpleNamespace())]
