# ImageNet-1k as iBOT sees it: the views of DINO's released models; each global view is masked with probability 1/2.
_base_ = './imagenet_multi-crop_10-local.py'

train_dataloader = dict(
    collate_fn=dict(
        type='dino_plugin.masked_collate',
        patch_size=16,
        share=0.5,
        ratio=(0.1, 0.5),
        stratified=False,
        min_patches=16,
    )
)
