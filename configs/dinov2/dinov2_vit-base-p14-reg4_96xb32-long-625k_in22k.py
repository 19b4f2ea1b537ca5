# ViT-B/14 with four registers by DINOv2's long recipe.
#
# Command:  on each of 12 machines: NNODES=12 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-base-p14-reg4_96xb32-long-625k_in22k.py 8
# Hardware: 96 GPUs of 80 GB. Not run by us.
# Expected: no figure is published; the authors give one for ViT-L only.
#
# The rate of stochastic depth is our choice. The released ViT-B/14 was distilled from ViT-g/14.
_base_ = './dinov2_vit-large-p14_96xb32-long-625k_in22k.py'

model = dict(backbone=dict(model_name='vit_base_patch14_reg4_dinov2', position_resampling='timm', subset_drop_path=0.2))
