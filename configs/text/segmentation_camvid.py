# Open-vocabulary segmentation of CamVid: each patch is compared with the names of the classes. Test only.
#
# Command:  python tools/test.py configs/text/segmentation_camvid.py CHECKPOINT --show-dir predictions
#           with the images as in configs/_base_/datasets/camvid.py. CHECKPOINT: of a training by a config of this
#           folder with features='class+mean', which says the towers.
# Hardware: one core.
# Expected: docs/evaluators/text.md
_base_ = ['../_base_/datasets/camvid.py', '../_base_/models/text_segmenter.py']

for __part in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'val_cfg'):
    _base_.pop(__part)
model = dict(
    classes=[
        'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist',
    ],
    window=224,
    stride=112,
)  # fmt: skip
