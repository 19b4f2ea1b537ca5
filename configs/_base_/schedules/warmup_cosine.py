# The form of our schedules: AdamW, a learning rate that warms up and falls by a cosine, a weight decay that grows by a
# cosine. The other schedules change its numbers. Lengths are shares of training.
optim_wrapper = dict(
    type='dino_plugin.SelfDistillationOptimWrapper',
    constructor='dino_plugin.ParameterGroups',
    precision='auto',
    max_norm=3.0,
    optimizer=dict(type='AdamW', betas=(0.9, 0.999), weight_decay=0.04, fused=True),
)

# Factors of the optimiser's own value.
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup', start=0.0, share=0.1, then=dict(type='dino_plugin.Cosine', start=1.0, end=0.01)
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=10.0),  # 0.04 -> 0.4; biases and norms stay at 0
    ),
]

custom_hooks = [
    dict(type='dino_plugin.EMATeacherHook'),
    dict(type='dino_plugin.SkippedStepsHook', max_in_a_row=10),
    dict(type='dino_plugin.CollapseMonitorHook', interval=100),
]
