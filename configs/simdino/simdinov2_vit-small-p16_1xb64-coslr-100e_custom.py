# Your own folder of images with SimDINOv2: SimDINO, with masks and a term on the masked patches.
#
# Command:  python tools/train.py configs/simdino/simdinov2_vit-small-p16_1xb64-coslr-100e_custom.py \
#               --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch loss_align, which should fall, and effective_rank, which should not.
_base_ = './simdino_vit-small-p16_1xb64-coslr-100e_custom.py'

model = dict(
    backbone=dict(mask_token=True, token_std=1e-6),
    losses=dict(patch_align=dict(type='dino_plugin.PatchAlignmentLoss', head='cls')),
)
train_dataloader = dict(collate_fn=dict(type='dino_plugin.masked_collate', patch_size=16))
