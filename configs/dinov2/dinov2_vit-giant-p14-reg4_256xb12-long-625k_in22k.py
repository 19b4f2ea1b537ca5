# ViT-g/14 with four registers by DINOv2's long recipe.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-giant-p14-reg4_256xb12-long-625k_in22k.py 8
# Hardware: 256 GPUs of 80 GB. Not run by us.
# Expected: no figure on ImageNet-22k; the released one, trained on LVD-142M (not public): k-NN 83.7 %, linear 87.1 %
#           (MODEL_CARD of facebookresearch/dinov2).
_base_ = './dinov2_vit-large-p14_96xb32-long-625k_in22k.py'

model = dict(
    backbone=dict(model_name='vit_giant_patch14_reg4_dinov2', position_resampling='timm', subset_drop_path=0.4)
)
train_dataloader = dict(batch_size=12)
