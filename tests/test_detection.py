"""The detection config, built by mmdetection where that is installed with mmcv's compiled operations."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from dino_plugin.openmmlab.config_files import config_path

MASK_RCNN = 'detection/vit-small-p16_mask-rcnn_8xb2-1x_coco.py'


@pytest.fixture
def registry():
    """mmdetection's registry of models, as the default scope."""
    try:
        import mmdet.models  # noqa: F401
        from mmdet.registry import MODELS
    except ImportError as error:
        pytest.skip(f'mmdetection cannot be imported: {error}')
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield MODELS


@pytest.mark.parametrize('frozen', [False, True])
def test_a_detector_has_five_scales_and_layers_with_rates_of_their_own(registry, frozen):
    cfg = Config.fromfile(config_path(MASK_RCNN))
    cfg.model.backbone.update(model_name='vit_small_patch16_224', frozen=frozen)
    model = registry.build(cfg.model)
    maps = model.extract_feat(torch.randn(1, 3, 224, 320))
    assert [tuple(features.shape[2:]) for features in maps] == [(56, 80), (28, 40), (14, 20), (7, 10), (4, 5)]
    rates = {group['lr'] for group in build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups}
    expected = {1e-4} if frozen else {1e-4 * 0.75**distance for distance in range(14)}
    assert sorted(rates) == pytest.approx(sorted(expected))


class Parts(nn.Module):
    """In place of the detector, where mmdetection is not installed."""

    def __init__(self, backbone, neck, **_):
        super().__init__()
        self.backbone, self.neck = MODELS.build(backbone), neck


@pytest.mark.parametrize('width', [192, 384])
def test_the_pyramid_is_as_wide_as_the_network(width):
    cfg = Config.fromfile(config_path(MASK_RCNN))
    cfg.model.model = Parts
    cfg.model.backbone.update(model_name='vit_tiny_patch16_224', embed_dim=width, num_heads=3, depth=4)
    model = MODELS.build(cfg.model)
    pyramid, network = model.neck
    assert (pyramid.embed_dim, network.in_channels, network.out_channels) == (width, [width] * 4, 256)
    assert model.backbone.out_channels == (width,) * 4
