# ImageNet-1k as DINOv2 sees it: 2 views of 224 px, half of which are masked, and 8 of 96 px.
#
# photometric='as_trained' are the authors' released models: their code blurs the first view never, where the paper
# says always (facebookresearch/dinov3#286).
_base_ = './imagenet_multi-crop.py'

train_dataloader = dict(
    collate_fn=dict(type='dino_plugin.masked_collate', patch_size=16, share=0.5, ratio=(0.1, 0.5), min_patches=4),
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=224,
                    global_scale=(0.32, 1.0),
                    local_size=96,
                    local_scale=(0.05, 0.32),
                    num_local=8,
                    photometric='paper',
                    split='auto',
                ),
                dict(type='dino_plugin.PackViews'),
            ]
        )
    ),
)
