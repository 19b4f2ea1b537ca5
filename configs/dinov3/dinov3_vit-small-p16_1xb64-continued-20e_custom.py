# Start from the released DINOv3 ViT-S/16 and train it on images of your own.
#
# Command:  python tools/train.py configs/dinov3/dinov3_vit-small-p16_1xb64-continued-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
#
# timm's copy of the weights is under DINOv3's licence, which its page asks you to accept.
_base_ = '../_base_/stages/continued_20e.py'

_base_.model.backbone.pop('position_resampling')  # rotary positions are never resampled
model = dict(
    backbone=dict(model_name='vit_small_patch16_dinov3.lvd1689m', rope_rescale_coords=2.0),
    heads=dict(cls=dict(weight_norm=False), patch=dict(weight_norm=False)),
)
train_dataloader = dict(collate_fn=dict(stratified=True, upper_edges=True, min_patches=4))
