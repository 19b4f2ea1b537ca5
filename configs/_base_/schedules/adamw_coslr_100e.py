# DINO's 100 epochs: everything that moves with time. Lengths are shares of training, so another number of epochs
# changes `max_epochs` only, and shares that were counted in epochs (10 of warm-up, 1 of freeze) where they matter.
optim_wrapper = dict(
    type='dino_plugin.SelfDistillationOptimWrapper',
    constructor='dino_plugin.ParameterGroups',
    precision='auto',
    clip_mode='parameter',
    max_norm=3.0,
    freeze_last_layer=0.01,  # 1 epoch of 100
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04, fused=True),
)

# The learning rate above belongs to a batch of 256 images and is scaled by the batch of all GPUs: 2e-3 at 8 x 128.
auto_scale_lr = dict(enable=True, base_batch_size=256)

# Factors of the optimiser's own value.
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup',
            start=0.0,
            share=0.1,  # 10 epochs of 100
            then=dict(type='dino_plugin.Cosine', start=1.0, end=1e-6 / 2e-3),
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=10.0),  # 0.04 -> 0.4; biases and norms stay at 0
    ),
]

train_cfg = dict(type='dino_plugin.ResumableEpochLoop', max_epochs=100)

custom_hooks = [
    dict(type='dino_plugin.EMATeacherHook'),
    dict(type='dino_plugin.SkippedStepsHook', max_in_a_row=10),
    dict(type='dino_plugin.CollapseMonitorHook', interval=100),
]
