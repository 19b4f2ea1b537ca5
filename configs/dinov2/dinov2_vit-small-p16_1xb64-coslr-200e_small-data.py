# Little data with DINOv2's losses: as iBOT's config, with a head of its own for the patches.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p16_1xb64-coslr-200e_small-data.py \
#               --images path/to/images
# Hardware: one GPU of 24 GB; 10,000 images are 31,000 steps in 200 epochs. Not run by us at this size.
# Expected: no figure for this network; what a small one learnt with these losses is in docs/small_data.md.
#
# Or as a config of yours, three lines:
#   _base_ = 'dino_plugin::dinov2/dinov2_vit-small-p16_1xb64-coslr-200e_small-data.py'
#   model = dict(num_images=5000)
#   train_dataloader = dict(dataset=dict(dataset=dict(data_root='path/to/images')))
#
# What follows from model.num_images is in configs/dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py. With 200,000
# images or more take dinov2_vit-small-p16_1xb64-coslr-100e_custom.py.
_base_ = '../ibot/ibot_vit-small-p16_1xb64-coslr-200e_small-data.py'

model = dict(
    backbone=dict(init_values=1e-5, token_std=1e-6),  # LayerScale, initial class token
    heads=dict(patch={{_base_.model.heads.cls}}),
    losses=dict(ibot=dict(head='patch'), koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1)),
)
train_dataloader = dict(collate_fn=dict(stratified=True, min_patches=4))
