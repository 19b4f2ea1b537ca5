# ViT-H+/16 by DINOv3's third stage, higher resolutions.
#
# Command:  on each of 16 machines: NNODES=16 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-huge-plus-p16_128xb16-highres-30k_folder.py 8 \
#               --cfg-options model.checkpoint=work_dirs/PREVIOUS/iter_N.pth
# Hardware: 128 GPUs of 80 GB. Not run by us.
# Expected: no figure is published.
#
# The authors distil this size from ViT-7B/16. This is the recipe of their 7B network with smaller heads.
_base_ = '../_base_/stages/dinov3_highres_30k.py'

model = dict(
    checkpoint='work_dirs/dinov3_vit-huge-plus-p16_128xb32-gram-200k_folder/iter_200000.pth',
    backbone=dict(model_name='vit_huge_plus_patch16_dinov3', subset_drop_path=0.4),
)
train_dataloader = dict(batch_size=16, sampler=dict(batch_size=16))
