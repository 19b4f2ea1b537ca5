# DINOv2's long run: ViT-L/14 on ImageNet-22k, 625,000 iterations.
#
# Command:  on each of 12 machines: NNODES=12 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-large-p14_96xb32-long-625k_in22k.py 8
# Hardware: 96 GPUs of 80 GB; 3.3 days for the authors on A100 (README of facebookresearch/dinov2).
#           By `dino-plugin plan` 39 GiB on each, 2,000 GPU hours at 40 % of an H100. Not run by us.
# Expected: ImageNet k-NN 82.0 %, linear 84.5 % (the same README).
#
# The released models were trained on LVD-142M, which is not public; S, B and L were distilled from ViT-g.
_base_ = [
    '../_base_/models/dinov2_vit-large-p14_long.py',
    '../_base_/datasets/imagenet22k_multi-crop_dinov2-p14.py',
    '../_base_/schedules/dinov2_long_625k.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=12500))
