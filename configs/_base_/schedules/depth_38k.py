# DINOv3's schedule of depth: AdamW, a third of 38,400 steps up, then down.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.99), weight_decay=1e-4),
    clip_grad=dict(max_norm=35),
)
# As one cycle, but with a straight line up. mmengine's OneCycleLR writes a function into checkpoints, which are then
# refused: only tensors are read from files.
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 25, by_epoch=False, begin=0, end=12_800),
    dict(type='CosineAnnealingLR', eta_min=1.2e-8, by_epoch=False, begin=12_800, end=38_400),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=38_400, val_interval=1600)
