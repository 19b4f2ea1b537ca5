# DINOv3's pretraining: a million iterations at constant values, after a warm-up of 100,000.
_base_ = './dinov2_short_125k.py'

optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay=0.98),
    max_norm=30.0,
    freeze_last_layer=0.005,
    optimizer=dict(lr=2e-4, betas=(0.9, 0.99)),
)
param_scheduler = _base_.param_scheduler[:1]  # weight decay stays as it is
param_scheduler[0].schedule.then = 1.0
train_cfg = dict(max_iters=1000000)
