# ViT-S/16 by DINOv3's first stage, pretraining.
#
# Command:  on each of 4 machines: NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-small-p16_32xb128-pretrain-1000k_folder.py 8
# Hardware: 32 GPUs of 80 GB. Not run by us.
# Expected: no figure.
#
# The authors distil this size from ViT-7B/16; this is the recipe of the 7B network with heads of ordinary size.
_base_ = './dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py'

model = dict(
    backbone=dict(model_name='vit_small_patch16_dinov3', subset_drop_path=0.1),
    heads=dict(
        cls=dict(prototypes=65536, hidden_dim=2048, bottleneck_dim=256),
        patch=dict(prototypes=65536, hidden_dim=2048, bottleneck_dim=256),
    ),
)
train_dataloader = dict(batch_size=128)
