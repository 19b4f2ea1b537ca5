# DINOv2's long recipe: 500 "epochs" of 1,250 iterations, whatever the number of images.
_base_ = './dinov2_short_125k.py'

optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay=1.0),
    freeze_last_layer=1 / 500,
    optimizer=dict(lr=2e-4),
)
_base_.param_scheduler[0].schedule.share = 80 / 500
_base_.param_scheduler[0].schedule.then.end = 1e-6 / 3.46e-4
_base_.param_scheduler[1].schedule.end = 5.0  # weight decay 0.04 -> 0.2
train_cfg = dict(max_iters=625000)
