# ViT-L/16 by DINOv3's first stage, pretraining.
#
# Command:  on each of 8 machines: NNODES=8 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-large-p16_64xb64-pretrain-1000k_folder.py 8
# Hardware: 64 GPUs of 80 GB; by `dino-plugin plan` 21 GiB on each, 5,700 GPU hours at 40 % of an H100. Not run by us.
# Expected: no figure is published.
#
# The authors distil this size from ViT-7B/16. This is the recipe of their 7B network with smaller heads.
_base_ = '../_base_/stages/dinov3_pretrain_1000k.py'

model = dict(backbone=dict(model_name='vit_large_patch16_dinov3', subset_drop_path=0.3))
train_dataloader = dict(batch_size=64)
