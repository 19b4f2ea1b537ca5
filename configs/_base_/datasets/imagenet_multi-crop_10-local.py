# ImageNet-1k as DINO's released models see it: 2 views of 224 px and 10 of 96 px, global views of a quarter and more.
_base_ = './imagenet_multi-crop.py'

_base_.train_dataloader.dataset.dataset.pipeline[1].update(
    global_scale=(0.25, 1.0), local_scale=(0.05, 0.25), num_local=10
)
