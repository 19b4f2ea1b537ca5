# ImageNet-1k as DINOv2 sees it: 2 views of 224 px, half of which are masked, and 8 of 96 px.
#
# photometric='as_trained' are the authors' released models: their code never blurs the first view, where the paper
# says always (facebookresearch/dinov3#286).
_base_ = './imagenet_multi-crop.py'

train_dataloader = dict(
    collate_fn=dict(type='dino_plugin.masked_collate', patch_size=16, share=0.5, ratio=(0.1, 0.5), min_patches=4)
)
_base_.train_dataloader.dataset.dataset.pipeline[1].update(global_scale=(0.32, 1.0), local_scale=(0.05, 0.32))
