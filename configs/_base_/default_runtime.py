# What every run of ours adds to runtime.py: names of dino_plugin, images a second, curves, a seed.
_base_ = './runtime.py'

default_scope = 'dino_plugin'
default_hooks = dict(
    throughput=dict(type='dino_plugin.ThroughputHook'),
    capture=dict(type='dino_plugin.CaptureHook', most=3),  # of batches that gave NaN, for `dino-plugin replay`
)

# More curves than the text and JSON logs, in a config of yours:
#   visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
#   visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='WandbVisBackend')])
# after `pip install tensorboard` or `pip install wandb`.
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='LogProcessor', by_epoch=True, window_size=50)
randomness = dict(seed=0, deterministic=False)
