# DINOv3's third stage, higher resolutions: ViT-7B/16, 30,000 iterations on views of mixed sizes.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-7b-p16_256xb8-highres-30k_folder.py 8 \
#               --cfg-options model.checkpoint=work_dirs/PREVIOUS/iter_N.pth
# Hardware: as the first stage, half the batch. Not run by us.
# Expected: features that stay good with images of several thousand pixels. No figure of ours.
#
# What this stage changes: configs/_base_/stages/dinov3_highres_30k.py.
_base_ = ['../_base_/stages/dinov3_highres_30k.py', '../_base_/fully_shard.py']

model = dict(
    checkpoint='work_dirs/dinov3_vit-7b-p16_256xb16-gram-200k_folder/iter_200000.pth',
    backbone=dict(model_name='vit_7b_patch16_dinov3', subset_drop_path=0.4),
    heads=dict(
        cls=dict(prototypes=262144, hidden_dim=8192, bottleneck_dim=512),
        patch=dict(prototypes=98304, hidden_dim=4096, bottleneck_dim=384),
    ),
)
train_dataloader = dict(batch_size=8, sampler=dict(batch_size=8))
