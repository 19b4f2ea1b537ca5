"""A backbone that was trained on the device, exported, and read again there."""

import argparse
import json
from pathlib import Path

import timm
import torch

from benchmark.ways import relative_gap
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from gpu_checks.evaluation import FEATURES, labelled_images
from gpu_checks.findings import Findings
from gpu_checks.recipes import leave_configs_unformatted, recipe
from gpu_checks.recorder import train

SAME = 1e-5  # the same weights on the same device; kernels may be chosen anew
STEPS = 3


def run(options: argparse.Namespace, findings: Findings) -> None:
    """iBOT, whose backbone has a mask token that is not exported."""
    torch.backends.cudnn.allow_tf32 = False
    leave_configs_unformatted()
    runner = train(_config(options), options.device).runner
    teacher = runner.model.distillation.teacher.backbone.eval()
    pixels = torch.cat([batch[0] for batch in labelled_images(options)[:2]]).to(options.device)
    images = pixels.movedim(-1, 1).float() / 255 - 0.5
    with torch.no_grad():
        expected = teacher(images)
    checkpoint = Path(runner.work_dir, f'iter_{STEPS}.pth')
    file = export_backbone(checkpoint, Path(options.folder, 'exported.safetensors'))
    ours = TimmBackbone(checkpoint=str(file)).eval().to(options.device)
    card = json.loads(file.with_suffix('.json').read_text())
    theirs = timm.create_model(card['model_name'], **card['timm_arguments'], checkpoint_path=str(file))
    theirs = theirs.eval().to(options.device)
    with torch.no_grad():
        compare('read by TimmBackbone', list(ours(images)), list(expected), SAME, findings)
        by_timm = [theirs.forward_features(images)[:, 0]]
        compare('read by timm', by_timm, [expected.class_token], SAME, findings)
        for precision in ('bf16', 'fp16'):
            dtype, most = FEATURES[precision]
            with torch.autocast(options.device, dtype=dtype):
                found = ours(images)
            compare(f'autocast {precision}', list(found), list(expected), most, findings)


def compare(name: str, found: list, expected: list, most: float, findings: Findings) -> None:
    """Relative to the norm of all of them."""
    gap = relative_gap([tensor.float() for tensor in found], [tensor.float() for tensor in expected])
    findings.check(name, gap <= most, f'{gap:.1e} from the teacher in fp32 (at most {most:.0e})', gap=gap)


def _config(options: argparse.Namespace):
    config = recipe('ibot', options)
    config.train_cfg.max_iters = STEPS
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=STEPS)
    return config
