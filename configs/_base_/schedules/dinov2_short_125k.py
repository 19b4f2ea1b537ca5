# DINOv2's short recipe: 100 "epochs" of 1,250 iterations, whatever the number of images.
optim_wrapper = dict(
    type='dino_plugin.SelfDistillationOptimWrapper',
    constructor='dino_plugin.ParameterGroups',
    paramwise_cfg=dict(layer_decay=0.9, custom_keys=dict(patch_embed=dict(lr_mult=0.2))),
    precision='auto',
    clip_mode='module',  # backbone and each head by themselves
    max_norm=3.0,
    freeze_last_layer=0.01,
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), weight_decay=0.04, fused=True),
)

# The learning rate above belongs to a batch of 1,024 images; it grows with the square root of the batch of all GPUs.
auto_scale_lr = dict(enable=True, base_batch_size=1024, rule='sqrt')

param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup',
            start=0.0,
            share=0.1,
            then=dict(type='dino_plugin.Cosine', start=1.0, end=1e-6 / 5.66e-3),
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=10.0),  # 0.04 -> 0.4
    ),
]

train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=125000)

custom_hooks = [
    dict(type='dino_plugin.EMATeacherHook'),
    dict(type='dino_plugin.SkippedStepsHook', max_in_a_row=10),
    dict(type='dino_plugin.CollapseMonitorHook', interval=100),
]
