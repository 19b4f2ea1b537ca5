# DINOv2's short run: ViT-L/16 on ImageNet-1k, 125,000 iterations.
#
# Command:  on each of 4 machines: NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-large-p16_32xb64-short-125k_in1k.py 8
# Hardware: 32 GPUs of 80 GB; about one day for the authors on A100 (README of facebookresearch/dinov2). Not run by us.
# Expected: ImageNet k-NN 81.6 %, linear 82.9 % (the same README).
#
# The authors train in fp16 with sharded weights. Here it is bf16, and each GPU holds all weights.
_base_ = [
    '../_base_/models/dinov2_vit-large-p16.py',
    '../_base_/datasets/imagenet_multi-crop_dinov2.py',
    '../_base_/schedules/dinov2_short_125k.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=64)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3750))
