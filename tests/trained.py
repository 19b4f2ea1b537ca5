"""A training of two iterations to go on from: two heads, masks, a mask token and a norm of local views that moved."""

from pathlib import Path

import torch
from small_training import build_runner, small_config

PATCH = dict(type='dino_plugin.DINOHead', prototypes=24, hidden_dim=40, bottleneck_dim=16)


def masked_config(work_dir, max_iters=2, **changes):
    """iBOT's and DINO's losses on heads of their own; ``changes`` as in `small_config`."""
    config = small_config(work_dir)
    config.model.backbone.update(mask_token=True, local_norm=True)
    config.model.heads.patch = dict(PATCH)
    config.model.losses.ibot = dict(
        type='dino_plugin.IBOTPatchLoss', head='patch', target=dict(type='dino_plugin.SinkhornKnopp')
    )
    config.optim_wrapper.freeze_last_layer = 0.0
    config.optim_wrapper.optimizer.lr = 1e-2
    config.train_dataloader.collate_fn = dict(type='dino_plugin.masked_collate', patch_size=8)
    config.train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=max_iters)
    config.merge_from_dict({path.replace('__', '.'): value for path, value in changes.items()})
    return config


def train_and_save(work_dir: Path) -> Path:
    """The checkpoint, in which student and teacher are not what they were at first, and not the same."""
    runner = build_runner(masked_config(work_dir))
    runner.train()
    student, teacher = (getattr(runner.model.distillation, name).state_dict() for name in ('student', 'teacher'))
    assert teacher['backbone.mask_token'].abs().max() > 0
    assert not torch.equal(teacher['backbone.local_norm.weight'], teacher['backbone.model.norm.weight'])
    assert not any(
        torch.equal(student[name], teacher[name]) for name in ('backbone.mask_token', 'backbone.model.pos_embed')
    )
    return work_dir / 'iter_2.pth'
