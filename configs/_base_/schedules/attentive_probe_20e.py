# V-JEPA 2's schedule of probes: AdamW, learning rates and weight decays of the model, cosine to 0, no warm-up.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='dino_plugin.ProbeGroups',
    optimizer=dict(type='AdamW', betas=(0.9, 0.999)),
)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=0.0),
    ),
]
train_cfg = dict(type='dino_plugin.ResumableEpochLoop', max_epochs=20, val_interval=20)
