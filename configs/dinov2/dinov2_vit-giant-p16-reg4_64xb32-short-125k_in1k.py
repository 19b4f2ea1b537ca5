# ViT-g/16 with four registers by DINOv2's short recipe.
#
# Command:  on each of 8 machines: NNODES=8 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-giant-p16-reg4_64xb32-short-125k_in1k.py 8
# Hardware: 64 GPUs of 80 GB. Not run by us.
# Expected: no figure is published; the authors give one for ViT-L only.
_base_ = './dinov2_vit-large-p16_32xb64-short-125k_in1k.py'

model = dict(
    backbone=dict(model_name='vit_giant_patch14_reg4_dinov2', position_resampling='timm', subset_drop_path=0.4)
)
train_dataloader = dict(batch_size=32)
