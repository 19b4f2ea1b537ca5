# Small batches: ViT-S/16 on one GPU, 64 images at a time.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-100e_in1k.py
# Hardware: one GPU of 24 GB (a ViT-S/16 with 64 images takes 19.5 GB in fp16: facebookresearch/dino#69); weeks for
#           ImageNet. Not run by us.
# Expected: below the 69.3 % k-NN of a batch of 512 (README of facebookresearch/dino); no figure is published.
#
# Two values change with a small batch. The teacher's momentum is 0.9995 instead of 0.996 (an author's advice in
# facebookresearch/dino#104). The learning rate falls by the rule lr * batch / 256, here to 1.25e-4.
# More memory: --cfg-options train_dataloader.batch_size=128; the learning rate follows.
# Less memory: --cfg-options model.backbone.gradient_checkpointing=True
_base_ = [
    '../_base_/models/dino_vit-small-p16.py',
    '../_base_/datasets/imagenet_multi-crop.py',
    '../_base_/schedules/adamw_coslr_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(momentum=dict(start=0.9995))
train_dataloader = dict(batch_size=64)
_base_.param_scheduler[0].schedule.then.end = 1e-6 / 1.25e-4
