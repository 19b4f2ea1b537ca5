# A probe for segmentation in 2,000 steps, for a small data set.
_base_ = './seg_probe_40k.py'

_base_.param_scheduler[0].end = _base_.param_scheduler[1].begin = 100
_base_.param_scheduler[1].end = 2000
train_cfg = dict(max_iters=2000, val_interval=500)
