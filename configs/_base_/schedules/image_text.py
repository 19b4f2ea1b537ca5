# AdamW, a learning rate that warms up and falls to 0 by a cosine; biases and norms do not decay.
optim_wrapper = dict(
    type='dino_plugin.SelfDistillationOptimWrapper',
    constructor='dino_plugin.ParameterGroups',
    precision='auto',
    clip_mode='global',
    max_norm=1.0,
    optimizer=dict(type='AdamW', lr=7e-4, betas=(0.9, 0.99), weight_decay=1e-4, fused=True),
)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup', start=0.0, share=0.04, then=dict(type='dino_plugin.Cosine', start=1.0, end=0.0)
        ),
    ),
]
train_cfg = dict(type='dino_plugin.ResumableEpochLoop', max_epochs=20, val_interval=1)
