# ImageNet-22k as DINOv2's long recipe sees it: patches of 14 px, so local views of 98.
# Layout: data/imagenet22k/<any folders>/<images>; no label is read.
_base_ = './imagenet_multi-crop_dinov2.py'

train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(patch_size=14),
    dataset=dict(
        dataset=dict(
            data_root='data/imagenet22k',
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=224,
                    global_scale=(0.32, 1.0),
                    local_size=98,
                    local_scale=(0.05, 0.32),
                    num_local=8,
                    photometric='paper',
                    split='auto',
                ),
                dict(type='dino_plugin.PackViews'),
            ],
        )
    ),
)
