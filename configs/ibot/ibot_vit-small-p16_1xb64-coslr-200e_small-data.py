# Little data with iBOT: DINO's small-data recipe and a patch loss with weight 0.25.
#
# Command:  python tools/train.py configs/ibot/ibot_vit-small-p16_1xb64-coslr-200e_small-data.py --images path/to/images
# Hardware: one GPU of 24 GB; 10,000 images are 31,000 steps in 200 epochs. Not run by us at this size.
# Expected: no figure for this network; what a small one learnt with these losses is in docs/small_data.md.
#
# Or as a config of yours, three lines:
#   _base_ = 'dino_plugin::ibot/ibot_vit-small-p16_1xb64-coslr-200e_small-data.py'
#   model = dict(num_images=5000)
#   train_dataloader = dict(dataset=dict(dataset=dict(data_root='path/to/images')))
#
# What follows from model.num_images is in configs/dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py. With 200,000
# images or more take ibot_vit-small-p16_1xb64-coslr-100e_custom.py.
_base_ = '../dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py'

model = dict(
    backbone=dict(mask_token=True),
    losses=dict(
        ibot=dict(
            type='dino_plugin.IBOTPatchLoss',
            head='cls',
            weight=0.25,
            teacher_temperature={{_base_.model.losses.dino.teacher_temperature}},
            target={{_base_.model.losses.dino.target}},
        )
    ),
)
train_dataloader = dict(
    collate_fn=dict(type='dino_plugin.masked_collate', patch_size=16, stratified=False, min_patches=16)
)
