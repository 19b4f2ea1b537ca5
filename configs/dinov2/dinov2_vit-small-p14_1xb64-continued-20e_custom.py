# Start from a released backbone and train it on images of your own. Its heads are not public, so new heads learn first.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb64-continued-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Compare with the released backbone itself, by k-NN before and after.
#
# For the first tenth of training the backbone is frozen. Then it learns at a twentieth of the usual learning rate, and
# at less in early layers.
_base_ = './dinov2_vit-small-p16_1xb64-coslr-100e_custom.py'

model = dict(
    backbone=dict(model_name='vit_small_patch14_reg4_dinov2', pretrained=True, img_size=224, init_values=1e-5),
    momentum=dict(start=0.9995),
)
train_dataloader = dict(collate_fn=dict(patch_size=14))
_base_.train_dataloader.dataset.dataset.pipeline[1].update(
    global_scale=(0.32, 1.0), local_size=98, local_scale=(0.05, 0.32)
)
optim_wrapper = dict(
    freeze_backbone=0.1,
    paramwise_cfg=dict(layer_decay=0.9, custom_keys=dict(backbone=dict(lr_mult=0.05), patch_embed=dict(lr_mult=0.01))),
)
train_cfg = dict(max_epochs=20)
