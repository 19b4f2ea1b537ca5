# DINOv2's short recipe: 100 "epochs" of 1,250 iterations, whatever the number of images.
_base_ = './warmup_cosine.py'

optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay=0.9, custom_keys=dict(patch_embed=dict(lr_mult=0.2))),
    clip_mode='module',  # backbone and each head by themselves
    freeze_last_layer=0.01,
    freeze_by='rate',  # its gradients still count in the clipped norm, as in the authors' code
    optimizer=dict(lr=4e-3),
)
# The learning rate above belongs to a batch of 1,024 images; it grows with the square root of the batch of all GPUs.
auto_scale_lr = dict(enable=True, base_batch_size=1024, rule='sqrt')
_base_.param_scheduler[0].schedule.then.end = 1e-6 / 5.66e-3
train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=125000)
