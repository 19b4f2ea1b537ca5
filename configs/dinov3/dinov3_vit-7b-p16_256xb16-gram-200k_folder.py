# DINOv3's second stage, Gram anchoring: ViT-7B/16, 200,000 iterations from the first stage's teacher.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-7b-p16_256xb16-gram-200k_folder.py 8 \
#               --cfg-options model.checkpoint=work_dirs/PREVIOUS/iter_N.pth
# Hardware: as the first stage. Not run by us.
# Expected: patch features stay good, where longer training without this stage makes them worse. No figure of ours.
#
# What this stage changes: configs/_base_/stages/dinov3_gram_200k.py.
_base_ = ['../_base_/stages/dinov3_gram_200k.py', '../_base_/fully_shard.py']

model = dict(
    checkpoint='work_dirs/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder/iter_1000000.pth',
    backbone=dict(model_name='vit_7b_patch16_dinov3', subset_drop_path=0.4),
    heads=dict(
        cls=dict(prototypes=262144, hidden_dim=8192, bottleneck_dim=512),
        patch=dict(prototypes=98304, hidden_dim=4096, bottleneck_dim=384),
    ),
)
