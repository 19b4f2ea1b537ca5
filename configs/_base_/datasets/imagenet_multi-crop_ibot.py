# ImageNet-1k as iBOT sees it: 2 views of 224 px, of which each is masked with probability 1/2, and 10 of 96 px.
_base_ = './imagenet_multi-crop.py'

train_dataloader = dict(
    collate_fn=dict(
        type='dino_plugin.masked_collate',
        patch_size=16,
        share=0.5,
        ratio=(0.1, 0.5),
        stratified=False,
        min_patches=16,
    ),
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=224,
                    global_scale=(0.25, 1.0),
                    local_size=96,
                    local_scale=(0.05, 0.25),
                    num_local=10,
                    photometric='paper',
                    split='auto',
                ),
                dict(type='dino_plugin.PackViews'),
            ]
        )
    ),
)
