# Start from the released DINO ViT-S/16 and train it on images of your own, with the loss that it knows.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-continued-20e_custom.py --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
_base_ = '../_base_/stages/continued_20e.py'

model = dict(
    backbone=dict(model_name='vit_small_patch16_224.dino', mask_token=False),
    heads=dict(_delete_=True, cls=dict(_base_.model.heads.cls, norm_last_layer=True)),
    losses=dict(
        _delete_=True,
        dino=dict(_base_.model.losses.dino, target=dict(type='dino_plugin.Centering', momentum=0.9)),
        gram=_base_.model.losses.gram,
    ),
)
train_dataloader = dict(collate_fn=dict(_delete_=True, type='dino_plugin.multi_crop_collate'))
