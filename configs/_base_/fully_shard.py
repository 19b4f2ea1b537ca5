# Each process holds a part of every network (docs/scaling.md); nothing changes on one GPU.
model_wrapper_cfg = dict(type='dino_plugin.FullyShard', precision='bf16')
