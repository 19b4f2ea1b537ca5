# Going on from released weights: new heads first, then a slow backbone; an optional anchor; measured from the start.
# The losses are DINOv2's. A recipe names the network and its patches.
_base_ = [
    '../models/ibot_vit-small-p16.py',
    '../datasets/imagenet_multi-crop_dinov2.py',
    '../schedules/adamw_coslr_100e.py',
    '../default_runtime.py',
]

__balanced = dict(_delete_=True, type='dino_plugin.SinkhornKnopp', iterations=3)

model = dict(
    backbone=dict(pretrained=True),
    heads=dict(
        cls=dict(prototypes=4096),
        patch=dict(_base_.model.heads.cls, prototypes=4096),
    ),
    losses=dict(
        dino=dict(target=__balanced, teacher_temperature=dict(share=0.0, then=0.04)),
        ibot=dict(head='patch', target=__balanced, teacher_temperature=0.04),
        koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1),
        gram=dict(type='dino_plugin.GramLoss', weight=0.0),  # at 0 the anchor does not run
    ),
    momentum=dict(start=0.998),
)
train_dataloader = dict(
    batch_size=64,
    collate_fn=dict(stratified=False, min_patches=16),
    dataset=dict(dataset=dict(data_root='data/custom')),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),  # of the heads: 5e-4 at a batch of 64
    freeze_backbone=0.1,
    paramwise_cfg=dict(layer_decay=0.9, custom_keys=dict(backbone=dict(lr_mult=0.02), patch_embed=dict(lr_mult=0.004))),
)
_base_.param_scheduler[0].schedule.then.end = 1e-6 / 1.25e-4
train_cfg = dict(max_epochs=20)
default_hooks = dict(pictures=dict(type='dino_plugin.PicturesHook', interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='dino_plugin.GuardHook', interval=1)]
