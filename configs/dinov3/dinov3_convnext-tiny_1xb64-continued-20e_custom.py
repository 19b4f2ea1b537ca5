# Start from the released DINOv3 ConvNeXt-Tiny and train it on images of your own.
#
# Command:  python tools/train.py configs/dinov3/dinov3_convnext-tiny_1xb64-continued-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
#
# A convolutional network has no patches to mask: DINO's loss alone. timm's copy of the weights is under DINOv3's
# licence, which its page asks you to accept.
_base_ = '../dino/dino_vit-small-p16_1xb64-continued-20e_custom.py'

for __option in ('position_resampling', 'token_std'):  # it has neither
    _base_.model.backbone.pop(__option)
model = dict(backbone=dict(model_name='convnext_tiny.dinov3_lvd1689m'))
