# ImageNet-1k without labels, as DINO sees it: 2 views of 224 px and 8 of 96 px of each image.
# split='auto' leaves colours, and where CPU cores are few also cutting and resizing, to a GPU; the choice is logged.
# To choose: --cfg-options train_dataloader.dataset.dataset.pipeline.1.split=worker (or device, or decode), or a config
# like dino/dino_vit-small-p16_8xb128-coslr-100e_in1k_split-worker.py.
# Layout: data/imagenet/train/<any folders>/<images>; no label is read.
train_dataloader = dict(
    batch_size=128,  # images on each GPU; every image is ten views
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
    collate_fn=dict(type='dino_plugin.multi_crop_collate'),
    dataset=dict(
        type='dino_plugin.SeededDataset',
        max_undecodable=0.01,  # training stops when a larger share of the files cannot be read
        dataset=dict(
            type='dino_plugin.ImageDataset',
            data_root='data/imagenet/train',
            pipeline=[
                dict(type='dino_plugin.LoadImage', least_reduction=2),  # large JPEG files are decoded smaller
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=224,
                    global_scale=(0.4, 1.0),
                    local_size=96,
                    local_scale=(0.05, 0.4),
                    num_local=8,
                    photometric='paper',
                    split='auto',
                ),
                dict(type='dino_plugin.PackViews'),
            ],
        ),
    ),
)
