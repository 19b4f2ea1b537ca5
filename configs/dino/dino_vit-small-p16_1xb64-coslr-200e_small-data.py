# Little data: prototypes, momentum and temperatures follow from the number of images, model.num_images, which --images
# counts.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py --images path/to/images
# Hardware: one GPU of 24 GB; 10,000 images are 31,000 steps in 200 epochs. Not run by us at this size.
# Expected: no figure for this network. The same rule, at 9,469 images with a ViT of width 128 and depth 4 on views of
#           48 px, took a prototype of ours from k-NN 33 % (untrained) to 53-55 % on Imagenette in 7 minutes on two
#           CPU cores (three seeds); with Centering and no batch norm it did not learn there.
#
# Or as a config of yours, three lines:
#   _base_ = 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py'
#   model = dict(num_images=5000)
#   train_dataloader = dict(dataset=dict(dataset=dict(data_root='path/to/images')))
# A value that you set yourself replaces the rule's: model.heads.cls.prototypes=1024.
#
# The rule: a straight line in log(images) between two points that are known to work, 10,000 images and ImageNet. It is
# computed in dino_plugin/engine/training/for_images.py.
#
#   images            prototypes  momentum  teacher temperature
#   up to 10,000      512-1,024   0.990     0.025
#   50,000            4,096       0.993     0.030 -> 0.040
#   199,999           16,384      0.995     0.034 -> 0.053
#   1,281,167         65,536      0.996     0.040 -> 0.070       DINO's boosted run, for comparison: not this recipe
#
# With 200,000 images or more take dino_vit-small-p16_1xb64-coslr-100e_custom.py: this recipe refuses them.
#
# - Prototypes: about one for ten images, a power of two, at least 512.
# - Momentum: the teacher averages over 1 / (1 - momentum) steps, 100 at the small end and 250 at ImageNet's: a short
#   training has no time for a slow teacher.
# - Temperature: a low teacher temperature makes sharp targets. Flat targets teach nothing.
# - For any number of images: Sinkhorn-Knopp, batch norm in the head, KoLeo, weight decay up to 0.1 instead of 0.4.
_base_ = './dino_vit-small-p16_1xb64-coslr-100e_in1k.py'

sync_bn = 'torch'  # on several GPUs the head's batch norm sees all of them

model = dict(
    num_images=10_000,
    heads=dict(
        cls=dict(
            prototypes=dict(_delete_=True, type='dino_plugin.prototypes_for_images'),
            norm_last_layer=False,
            batch_norm=True,
        )
    ),
    losses=dict(
        dino=dict(
            teacher_temperature=dict(
                _delete_=True,
                type='dino_plugin.Warmup',
                start=dict(type='dino_plugin.value_for_images', few=0.025, imagenet=0.040),
                share=0.1,
                then=dict(type='dino_plugin.value_for_images', few=0.025, imagenet=0.070),
            ),
            target=dict(_delete_=True, type='dino_plugin.SinkhornKnopp', iterations=3),
        ),
        koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1),
    ),
    momentum=dict(
        _delete_=True, type='dino_plugin.Cosine', start=dict(type='dino_plugin.momentum_for_images'), end=1.0
    ),
)
train_dataloader = dict(dataset=dict(dataset=dict(data_root='data/small/train')))
optim_wrapper = dict(
    freeze_last_layer=0.0,
    optimizer=dict(lr=2e-3),  # 5e-4 at this batch of 64, four times DINO's rule
)
_base_.param_scheduler[0].schedule.then.end = 0.01
_base_.param_scheduler[1].schedule.end = 2.5  # weight decay 0.04 -> 0.1
train_cfg = dict(max_epochs=200)

# Views, attention and patch colours of four images: seconds every ten epochs. default_hooks.pictures.number=0: none.
default_hooks = dict(pictures=dict(type='dino_plugin.PicturesHook', interval=10))
