# Little data: prototypes, momentum, temperatures and targets follow from the number of images.
#
# Command:  copy this file, set num_images and data_root in it, then: python tools/train.py path/to/your_copy.py
#           (What follows from num_images is computed while this file is read, so neither --cfg-options nor a config
#           that inherits from this one can change it afterwards.)
# Hardware: one GPU of 24 GB; 10,000 images are 31,000 steps in 200 epochs. Not run by us at this size.
# Expected: no figure for this network. The same rule, at 9,469 images with a ViT of width 128 and depth 4 on views of
#           48 px, took a prototype of ours from k-NN 33 % (untrained) to 53-55 % on Imagenette in 7 minutes on two
#           CPU cores (three seeds); centred targets without batch norm in the head did not learn there.
#
# The rule: two points that are known to work, and a straight line in log(images) between them.
#
#   images            prototypes  momentum  teacher temperature  targets and head
#   up to 10,000      512-1,024   0.990     0.025                Sinkhorn, batch norm, KoLeo 0.1, weight decay to 0.1
#   50,000            4,096       0.993     0.030 -> 0.040       likewise
#   200,000           16,384      0.995     0.034 -> 0.053       centred, no batch norm, no KoLeo, weight decay to 0.4
#   1,281,167         65,536      0.996     0.040 -> 0.070       likewise: DINO's boosted run
#
# - Prototypes: about one for ten images, as a power of two from 512 to 65,536.
# - Momentum: the teacher averages over 1 / (1 - momentum) steps, 100 at the small end and 250 at ImageNet's: a short
#   training has no time for a slow teacher.
# - Temperature: the colder the teacher, the less a flat target can pass for an answer.
_base_ = './dino_vit-small-p16_1xb64-coslr-100e_in1k.py'

import math  # noqa: E402  (before _base_, mmengine 0.10.7 takes it for the mark of another kind of config)

num_images = 10_000
data_root = 'data/small/train'

few_images = num_images < 200_000
sync_bn = 'torch'  # on several GPUs the head's batch norm sees all of them
toward_imagenet = math.log(num_images / 10_000) / math.log(1_281_167 / 10_000)
toward_imagenet = min(1.0, max(0.0, toward_imagenet))  # 0 at 10,000 images, 1 at ImageNet's number

model = dict(
    heads=dict(
        cls=dict(
            prototypes=min(65_536, max(512, 2 ** round(math.log2(num_images / 10)))),
            norm_last_layer=False,
            batch_norm=few_images,
        )
    ),
    losses=dict(
        dino=dict(
            teacher_temperature=dict(
                start=0.025 + 0.015 * toward_imagenet, share=0.1, then=0.025 + 0.045 * toward_imagenet
            ),
        )
    ),
    momentum=dict(start=1 - 1 / (100 + 150 * toward_imagenet)),
)
if few_images:
    model['losses']['dino']['target'] = dict(_delete_=True, type='dino_plugin.SinkhornKnopp', iterations=3)
    model['losses']['koleo'] = dict(type='dino_plugin.KoLeoLoss', weight=0.1)

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
optim_wrapper = dict(
    freeze_last_layer=0.0 if few_images else 0.01,
    optimizer=dict(lr=2e-3),  # 5e-4 at this batch of 64, four times DINO's rule
)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup',
            start=0.0,
            share=0.1,
            then=dict(type='dino_plugin.Cosine', start=1.0, end=0.01),
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=2.5 if few_images else 10.0),
    ),
]
train_cfg = dict(max_epochs=200)
