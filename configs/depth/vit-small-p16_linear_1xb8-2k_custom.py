# Depth by a linear probe, on images and depths of your own: data/depth/{train,val}/{images,depths}.
#
# Command:  python tools/train.py configs/depth/vit-small-p16_linear_1xb8-2k_custom.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_2000.pth --show-dir predictions
#           CHECKPOINT: see configs/segmentation/README.md. Copy this file to change folders, unit and range.
# Hardware: one GPU. Not run by us with this network.
# Expected: depends on the images; the same on a rendered room: docs/results.md.
_base_ = ['../_base_/datasets/depth_default.py', '../_base_/models/depth_linear.py', '../_base_/schedules/depth_38k.py']

model = dict(decode_head=dict(losses=dict(gradient=dict(type='dino_plugin.LogGradientLoss', weight=0.5))))
train_dataloader = dict(batch_size=8, dataset=dict(data_root='data/depth/train'))
val_dataloader = dict(dataset=dict(data_root='data/depth/val'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2000, val_interval=500)
_base_.param_scheduler[0].end = 600
_base_.param_scheduler[1].update(begin=600, end=2000)
default_hooks = dict(checkpoint=dict(interval=500))
