# DINOv3's schedule of depth: AdamW, a third of 38,400 steps up, then down.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.99), weight_decay=1e-4),
    clip_grad=dict(max_norm=35),
)
param_scheduler = [
    dict(type='OneCycleLR', eta_max=3e-4, total_steps=38_400, pct_start=1 / 3, final_div_factor=1000, by_epoch=False)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=38_400, val_interval=1600)
