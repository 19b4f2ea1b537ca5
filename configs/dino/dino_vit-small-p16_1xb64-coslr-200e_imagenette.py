# Imagenette: ten classes of ImageNet, 9,469 images; the small-data recipe, with k-NN during training.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-200e_imagenette.py
#           after unpacking imagenette2-320.tgz (fastai) to data/imagenette2-320/{train,val}/<class>/
#           (elsewhere: copy this file and change __data_root in the copy; --images changes only the training images)
# Hardware: one GPU of 24 GB; 29,400 steps of 64 images. Not run by us.
# Expected: not measured. To compare: stable-pretraining reports k-NN 83.8 %, linear 86.1 % for DINO, ViT-S/16, 200
#           epochs, by a recipe of its own (its benchmarks/imagenet10/RESULTS.md).
_base_ = ['./dino_vit-small-p16_1xb64-coslr-200e_small-data.py', '../_base_/datasets/labelled_images.py']

__data_root = 'data/imagenette2-320'
__labelled = dict(_base_.pop('labelled_images'), num_workers=4)
__bank, __queries = (
    dict(__labelled, dataset=dict(__labelled['dataset'], data_root=f'{__data_root}/{folder}'))
    for folder in ('train', 'val')
)

model = dict(num_images=9_469)
train_dataloader = dict(dataset=dict(dataset=dict(data_root=f'{__data_root}/train')))
custom_hooks = [  # labels measure, they never train
    *_base_.custom_hooks,
    dict(type='dino_plugin.KNNHook', interval=10, bank=__bank, queries=__queries),
]
