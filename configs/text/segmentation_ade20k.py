# Open-vocabulary segmentation of ADE20K: each patch is compared with the names of the classes. Test only.
#
# Command:  python tools/test.py configs/text/segmentation_ade20k.py CHECKPOINT --show-dir predictions
#           with the images as in configs/_base_/datasets/ade20k.py. CHECKPOINT: of a training by a config of this
#           folder with features='class+mean', which says the towers.
# Hardware: one GPU. Not run by us.
# Expected: mIoU; not run by us.
_base_ = ['../_base_/datasets/ade20k.py', '../_base_/models/text_segmenter.py']

for __part in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'val_cfg'):
    _base_.pop(__part)
model = dict(classes='mmseg.datasets.ADE20KDataset')
