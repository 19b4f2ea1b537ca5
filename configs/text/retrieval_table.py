# Captions by images and images by captions, of a table of your own: test only. COCO and Flickr30k are such tables, with
# five rows for each image.
#
# Command:  python tools/test.py configs/text/retrieval_table.py CHECKPOINT \
#               --cfg-options test_dataloader.dataset.data_root=DIR test_dataloader.dataset.ann_file=test.csv
#           CHECKPOINT: of a training by a config of this folder, which says the towers.
# Hardware: any; a GPU for more than some thousands of images.
# Expected: depends on the images; R@k of any order is 100 k / images for captions, and more for images with several.
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/captions.py']

for __part in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'val_cfg'):
    _base_.pop(__part)
model = dict(type='dino_plugin.ImageTextModel', backbone=dict(type='dino_plugin.TimmBackbone'))
