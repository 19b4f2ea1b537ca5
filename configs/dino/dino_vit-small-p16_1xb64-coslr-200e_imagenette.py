# Imagenette: ten classes of ImageNet, 9,469 images; the small-data preset, with k-NN on the way.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-200e_imagenette.py
#           after unpacking imagenette2-320.tgz (fastai) to data/imagenette2-320/{train,val}/<class>/
#           (elsewhere: copy this file and change data_root in it; --cfg-options comes after the file was read)
# Hardware: one GPU of 24 GB; 29,400 steps of 64 images. Not run by us.
# Expected: not measured. For scale: stable-pretraining reports k-NN 83.8 %, linear 86.1 % for DINO, ViT-S/16, 200
#           epochs, by a recipe of its own (its benchmarks/imagenet10/RESULTS.md).
_base_ = './dino_vit-small-p16_1xb64-coslr-200e_small-data.py'

data_root = 'data/imagenette2-320'

model = dict(num_images=9_469)


def labelled(folder):
    return dict(
        batch_size=128,
        num_workers=4,
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        collate_fn=dict(type='dino_plugin.image_collate'),
        dataset=dict(
            type='dino_plugin.ImageDataset',
            data_root=folder,
            with_labels=True,
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(type='dino_plugin.ResizeCentreCrop', resize=256, crop=224),
                dict(type='dino_plugin.PackImage'),
            ],
        ),
    )


train_dataloader = dict(dataset=dict(dataset=dict(data_root=f'{data_root}/train')))
custom_hooks = [
    dict(type='dino_plugin.EMATeacherHook'),
    dict(type='dino_plugin.SkippedStepsHook', max_in_a_row=10),
    dict(type='dino_plugin.CollapseMonitorHook', interval=100),
    dict(
        type='dino_plugin.KNNHook',  # labels measure, they never train
        interval=10,
        bank=labelled(f'{data_root}/train'),
        queries=labelled(f'{data_root}/val'),
    ),
]
