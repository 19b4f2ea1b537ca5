# A loader of class folders, FOLDER/<class>/<images>, for k-NN. It is a part, not a setting: a recipe puts copies of
# `labelled_images` where it needs them, each with its `data_root`.
labelled_images = dict(
    batch_size=128,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='dino_plugin.image_collate'),
    dataset=dict(
        type='dino_plugin.ImageDataset',
        data_root='data/train',
        with_labels=True,
        pipeline=[
            dict(type='dino_plugin.LoadImage'),
            dict(type='dino_plugin.ResizeCentreCrop', resize=256, crop=224),
            dict(type='dino_plugin.PackImage'),
        ],
    ),
)
