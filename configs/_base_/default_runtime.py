# What every run shares: logging, checkpoints, seeds, processes.
default_scope = 'dino_plugin'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    throughput=dict(type='dino_plugin.ThroughputHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),  # in epochs
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # on a machine without GPUs tools/train.py takes gloo
)

# More curves than the text and JSON logs, in a config of yours:
#   visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
#   visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='WandbVisBackend')])
# after `pip install tensorboard` or `pip install wandb`.
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='LogProcessor', by_epoch=True, window_size=50)
log_level = 'INFO'

load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
