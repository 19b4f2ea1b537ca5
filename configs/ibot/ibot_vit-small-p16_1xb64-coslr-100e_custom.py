# Your own folder of images with iBOT: any depth, no labels, one GPU. The file says what differs from DINO's.
#
# Command:  python tools/train.py configs/ibot/ibot_vit-small-p16_1xb64-coslr-100e_custom.py --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch target_information in the log (0 is a collapse), and k-NN if some have labels.
#
# Fewer than about 200,000 images? Start from ibot_vit-small-p16_1xb64-coslr-200e_small-data.py instead.
_base_ = '../dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'

model = dict(
    backbone=dict(mask_token=True),
    heads=dict(cls=dict(prototypes=8192, norm_last_layer=False)),
    losses=dict(
        ibot=dict(
            type='dino_plugin.IBOTPatchLoss',
            head='cls',  # the same name: one head for class token and patches
            teacher_temperature=0.04,
            target=dict(type='dino_plugin.Centering', momentum=0.9),
        )
    ),
)
train_dataloader = dict(
    collate_fn=dict(type='dino_plugin.masked_collate', patch_size=16, stratified=False, min_patches=16)
)
