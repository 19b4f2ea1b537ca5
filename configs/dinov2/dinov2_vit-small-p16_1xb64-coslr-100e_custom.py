# Your own folder of images with DINOv2's losses: any depth, no labels, one GPU. What differs from DINO's config.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p16_1xb64-coslr-100e_custom.py \
#               --cfg-options train_dataloader.dataset.dataset.data_root=path/to/images
# Hardware: one GPU of 24 GB; the time follows the number of images. Not run by us.
# Expected: depends on the images: watch the k-NN accuracy if some have labels, and the collapse monitor's line.
#
# Fewer than some 200,000 images? Start from dinov2_vit-small-p16_1xb64-coslr-200e_small-data.py instead.
_base_ = '../ibot/ibot_vit-small-p16_1xb64-coslr-100e_custom.py'

balanced = dict(_delete_=True, type='dino_plugin.SinkhornKnopp', iterations=3)

model = dict(
    backbone=dict(init_values=1e-5),  # LayerScale
    heads=dict(
        cls=dict(prototypes=16384),
        patch=dict(type='dino_plugin.DINOHead', prototypes=16384, norm_last_layer=False),
    ),
    losses=dict(
        dino=dict(target=balanced),
        ibot=dict(head='patch', target=balanced),
        koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1),
    ),
)
