# DINOv3's first stage: ViT-7B/16, a million iterations at constant learning rate, decay and momentum.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py 8
# Hardware: 256 H100; 61,440 GPU hours for the authors, all stages (MODEL_CARD of facebookresearch/dinov3). Not run by
#           us. Each GPU holds 1/256 of all networks (docs/scaling.md): by `dino-plugin plan` 15 GiB (a copy: 182), and
#           108,000 GPU hours at 40 % of an H100, with what is computed again.
# Expected: no figure for this stage alone.
_base_ = ['../_base_/stages/dinov3_pretrain_1000k.py', '../_base_/fully_shard.py']

model = dict(
    defer_weights=True,
    backbone=dict(model_name='vit_7b_patch16_dinov3', subset_drop_path=0.4),
    heads=dict(
        cls=dict(prototypes=262144, hidden_dim=8192, bottleneck_dim=512),
        patch=dict(prototypes=98304, hidden_dim=4096, bottleneck_dim=384),
    ),
)
