# ViT-g/14 by DINOv2's long recipe.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-giant-p14_256xb12-long-625k_in22k.py 8
# Hardware: 256 GPUs of 80 GB, each with 1/256 of all networks (docs/scaling.md); by `dino-plugin plan` 23 GiB on each
#           (a copy: 53), 6,600 GPU hours at 40 % of an H100. Not run by us.
# Expected: no figure on ImageNet-22k; the released one, trained on LVD-142M (not public): k-NN 83.5 %, linear 86.5 %
#           (MODEL_CARD of facebookresearch/dinov2).
_base_ = ['./dinov2_vit-large-p14_96xb32-long-625k_in22k.py', '../_base_/fully_shard.py']

model = dict(backbone=dict(model_name='vit_giant_patch14_dinov2', subset_drop_path=0.4))
train_dataloader = dict(batch_size=12)
