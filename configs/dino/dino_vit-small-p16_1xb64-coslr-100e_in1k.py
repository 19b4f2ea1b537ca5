# Small batches: ViT-S/16 on one GPU, 64 images at a time.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-100e_in1k.py
# Hardware: one GPU of 24 GB (a ViT-S/16 with 64 images takes 19.5 GB in fp16: facebookresearch/dino#69); weeks for
#           ImageNet. Not run by us.
# Expected: below the 69.3 % k-NN of a batch of 512 (README of facebookresearch/dino); no figure is published.
#
# What changes with a small batch: the teacher keeps more of itself, 0.9995 instead of 0.996 (an author's advice, in
# facebookresearch/dino#104), and the learning rate falls by the rule lr * batch / 256, here to 1.25e-4.
# More memory than that? --cfg-options train_dataloader.batch_size=128, and the rest follows.
# Less? --cfg-options model.backbone.gradient_checkpointing=True
_base_ = './dino_vit-small-p16_8xb128-coslr-100e_in1k.py'

model = dict(momentum=dict(start=0.9995))
train_dataloader = dict(batch_size=64)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup',
            start=0.0,
            share=0.1,
            then=dict(type='dino_plugin.Cosine', start=1.0, end=1e-6 / 1.25e-4),
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=10.0),
    ),
]
