# Open-vocabulary segmentation of Pascal VOC 2012 by the names of its classes; all else is 'background'. Test only.
#
# Command:  python tools/test.py configs/text/segmentation_voc12.py CHECKPOINT --show-dir predictions
#           with the images as in configs/_base_/datasets/voc12aug.py. CHECKPOINT: of a training by a config of this
#           folder with features='class+mean', which says the towers.
# Hardware: one GPU. Not run by us.
# Expected: mIoU; not run by us.
_base_ = ['../_base_/datasets/voc12aug.py', '../_base_/models/text_segmenter.py']

for __part in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'val_cfg'):
    _base_.pop(__part)
model = dict(classes='mmseg.datasets.PascalVOCDataset')
