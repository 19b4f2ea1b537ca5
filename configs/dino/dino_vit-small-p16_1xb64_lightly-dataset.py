# Lightly's dataset and transform with our training. The collate function understands Lightly's samples (views, label,
# filename).
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64_lightly-dataset.py --images path/to/images
#           (needs `pip install lightly`)
# Hardware: one GPU of 24 GB and many CPU cores: our own MultiCrop makes the same views about six times faster.
#           Not run by us.
# Expected: as dino_vit-small-p16_1xb64-coslr-100e_custom.py; Lightly's probabilities and ranges are DINO's.
_base_ = './dino_vit-small-p16_1xb64-coslr-100e_custom.py'

_base_.train_dataloader.dataset.dataset = dict(
    type='dino_plugin.LightlyDataset',
    input_dir='data/custom',
    transform=dict(
        type='lightly.transforms.DINOTransform',
        global_crop_size=224,
        global_crop_scale=(0.4, 1.0),
        local_crop_size=96,
        local_crop_scale=(0.05, 0.4),
        n_local_views=8,
    ),
)
