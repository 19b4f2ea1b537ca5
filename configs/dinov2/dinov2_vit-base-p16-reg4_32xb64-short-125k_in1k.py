# ViT-B/16 with four registers by DINOv2's short recipe.
#
# Command:  on each of 4 machines: NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-base-p16-reg4_32xb64-short-125k_in1k.py 8
# Hardware: 32 GPUs of 80 GB. Not run by us.
# Expected: no figure is published; the authors give one for ViT-L only.
#
# The rate of stochastic depth is our choice. The released ViT-B/14 was distilled from ViT-g/14.
_base_ = './dinov2_vit-large-p16_32xb64-short-125k_in1k.py'

model = dict(backbone=dict(model_name='vit_base_patch14_reg4_dinov2', position_resampling='timm', subset_drop_path=0.2))
