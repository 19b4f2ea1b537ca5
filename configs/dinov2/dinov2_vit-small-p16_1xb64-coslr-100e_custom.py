# Your own folder of images with DINOv2's losses: any depth, no labels, one GPU.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p16_1xb64-coslr-100e_custom.py --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch target_information in the log (0 is a collapse), and k-NN if some have labels.
#
# Fewer than about 200,000 images? Start from dinov2_vit-small-p16_1xb64-coslr-200e_small-data.py instead.
_base_ = '../ibot/ibot_vit-small-p16_1xb64-coslr-100e_custom.py'

__balanced = dict(_delete_=True, type='dino_plugin.SinkhornKnopp', iterations=3)

model = dict(
    backbone=dict(init_values=1e-5, token_std=1e-6),  # LayerScale, initial class token
    heads=dict(
        cls=dict(prototypes=16384),
        patch=dict(type='dino_plugin.DINOHead', prototypes=16384, norm_last_layer=False),
    ),
    losses=dict(
        dino=dict(target=__balanced),
        ibot=dict(head='patch', target=__balanced),
        koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1),
    ),
)
