"""What each method leaves behind goes through every evaluator and the export."""

import json

import pytest
import timm
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.runner import Runner
from networks import photographs
from test_configs import load, shrink
from video_clips import small_clips

from dino_plugin.backbones.feature_maps import TimmFeatureMaps
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.evaluation.classification.knn import knn_accuracy
from dino_plugin.evaluation.features.extraction import extract_features
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.scores import evaluate_clip, global_results
from dino_plugin.evaluation.video.segment_clip import segment_clip
from dino_plugin.export.backbone import export_backbone
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.weights.safe_loading import load_checkpoint

NAMES = [f'{method}/{method}_vit-small-p16_1xb64-coslr-100e_custom.py' for method in ('ibot', 'dinov2', 'dinov3')]


@pytest.fixture(scope='module', params=NAMES, ids=lambda name: name.split('/')[0])
def trained(request, twelve_images, tmp_path_factory):
    """The checkpoint of three steps, and the teacher's tokens of some photographs."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = shrink(load(request.param), twelve_images, folder)
    if 'init_values' in cfg.model.backbone:
        cfg.model.backbone.init_values = 1.0  # LayerScale of 1e-5 would leave all images alike after three steps
    runner = Runner.from_cfg(cfg)
    runner.train()
    teacher = runner.model.distillation.teacher.backbone.eval()
    with torch.no_grad():
        return folder / 'epoch_1.pth', teacher(photographs())


def test_the_backbone_is_the_teacher(trained):
    checkpoint, expected = trained
    with torch.no_grad():
        tokens = TimmBackbone(checkpoint=str(checkpoint)).eval()(photographs())
        (maps,) = TimmFeatureMaps(out_indices=(-1,), checkpoint=str(checkpoint)).eval()(photographs())
    torch.testing.assert_close(tokens, expected)
    torch.testing.assert_close(maps.movedim(1, -1), expected.patches)


def test_the_export_is_the_teacher_without_mask_token(trained, tmp_path):
    checkpoint, expected = trained
    file = export_backbone(checkpoint, tmp_path / 'backbone.safetensors')
    card = json.loads(file.with_suffix('.json').read_text())
    model = timm.create_model(card['model_name'], **card['timm_arguments'], checkpoint_path=str(file)).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(photographs())[:, 0], expected.class_token)
    assert not any('mask_token' in key for key in load_checkpoint(str(file)))


def test_knn_classifies_by_the_teachers_features(trained, tmp_path):
    checkpoint, _ = trained
    cfg = Config.fromfile(config_path('knn/knn_cifar10-mini.py'))
    cfg.model.backbone.checkpoint = str(checkpoint)
    for first, loader in enumerate((cfg.test_dataloader, cfg.test_cfg.bank_dataloader)):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(CIFAR), indices=list(range(first, 1000, 20)))
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    runner = Runner.from_cfg(cfg)
    backbone = TimmBackbone(checkpoint=str(checkpoint)).eval()
    queries, bank = (
        extract_features(backbone, Runner.build_dataloader(loader), preprocessor=ViewPreprocessor())
        for loader in (cfg.test_dataloader, cfg.test_cfg.bank_dataloader)
    )
    assert runner.test()['knn/top1_k10'] == pytest.approx(knn_accuracy(*bank, *queries, (10,))['top1_k10'])


def test_masks_are_carried_through_clips(trained, tmp_path):
    checkpoint, _ = trained
    backbone = TimmBackbone(checkpoint=str(checkpoint)).eval()
    clips = DAVISDataset(small_clips(tmp_path, frames=3).as_posix(), year=2016).clips
    results = [evaluate_clip(clip, segment_clip(backbone, clip, short_side=96, multiple=16)) for clip in clips]
    assert 0.1 < global_results(results)['J&F-Mean'] <= 1
