# DINOv3's first stage: ViT-7B/16, a million iterations at constant learning rate, decay and momentum.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py 8
# Hardware: 256 H100; 61,440 GPU hours for the authors, all stages (MODEL_CARD of facebookresearch/dinov3). Not run by
#           us, and it does not fit as it is: 7 billion parameters with their optimiser take over 100 GB in fp32 on each
#           GPU, and this package does not shard them.
# Expected: no figure for this stage alone.
_base_ = [
    '../_base_/models/dinov3_vit-7b-p16.py',
    '../_base_/datasets/images_multi-crop_dinov3.py',
    '../_base_/schedules/dinov3_constant_1000k.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
