# A large folder of images as DINOv3's pretraining sees it: 2 views of 256 px, half of which are masked, and 8 of
# 112 px; nothing is mirrored. Layout: data/images/<any folders>/<images>; no label is read.
_base_ = './imagenet_multi-crop_dinov2.py'

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        dataset=dict(
            data_root='data/images',
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=256,
                    global_scale=(0.32, 1.0),
                    local_size=112,
                    local_scale=(0.05, 0.32),
                    num_local=8,
                    photometric='paper',
                    split='auto',
                    flip_probability=0.0,
                ),
                dict(type='dino_plugin.PackViews'),
            ],
        )
    ),
)
