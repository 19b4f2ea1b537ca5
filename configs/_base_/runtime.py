# What every run of mmengine shares, training of ours and decoders of others: logging, checkpoints, processes.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='dino_plugin.CheckpointHook', interval=1, max_keep_ckpts=2),  # in epochs
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # on a machine without GPUs tools/train.py takes gloo
)
log_level = 'INFO'
load_from = None
resume = False
