# DINO's 100 epochs. Lengths are shares of training, so another number of epochs changes `max_epochs`, and the shares
# that were counted in epochs (10 of warm-up, 1 of freeze) where they matter.
_base_ = './warmup_cosine.py'

optim_wrapper = dict(
    clip_mode='parameter',
    freeze_last_layer=0.01,  # 1 epoch of 100
    optimizer=dict(lr=5e-4),
)
# The learning rate above belongs to a batch of 256 images and is scaled by the batch of all GPUs: 2e-3 at 8 x 128.
auto_scale_lr = dict(enable=True, base_batch_size=256)
_base_.param_scheduler[0].schedule.then.end = 1e-6 / 2e-3
train_cfg = dict(type='dino_plugin.ResumableEpochLoop', max_epochs=100)
