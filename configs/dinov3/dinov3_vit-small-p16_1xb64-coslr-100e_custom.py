# Your own folder of images with DINOv3's losses: any depth, no labels, one GPU.
#
# Command:  python tools/train.py configs/dinov3/dinov3_vit-small-p16_1xb64-coslr-100e_custom.py --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch target_information in the log (0 is a collapse), and k-NN if some have labels.
#
# All in one run: from 80 % of training on, Gram anchoring keeps the patches like an earlier teacher's.
_base_ = '../dinov2/dinov2_vit-small-p16_1xb64-coslr-100e_custom.py'

_base_.model.backbone.pop('position_resampling')  # rotary positions are never resampled
model = dict(
    backbone=dict(model_name='vit_small_patch16_dinov3', init_values=1e-5, rope_rescale_coords=2.0, token_std=0.02),
    heads=dict(cls=dict(weight_norm=False), patch=dict(weight_norm=False)),
    losses=dict(
        gram=dict(
            type='dino_plugin.GramLoss',
            weight=dict(type='dino_plugin.Switch', before=0.0, share=0.8, then=2.0),
            refresh=(0.8, 0.85, 0.9),
        )
    ),
)
train_dataloader = dict(collate_fn=dict(stratified=True, upper_edges=True, min_patches=4))
