# Your own folder of images: any depth, no labels, JPEG, PNG, WebP, TIFF or BMP.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py \
#               --cfg-options train_dataloader.dataset.dataset.data_root=path/to/images
# Hardware: one GPU of 24 GB; the time follows the number of images. Not run by us.
# Expected: depends on the images: watch the k-NN accuracy if some have labels, and the collapse monitor's line.
#
# Or as a config of yours, two lines:
#   _base_ = 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
#   train_dataloader = dict(dataset=dict(dataset=dict(data_root='path/to/images')))
#
# Fewer than some 200,000 images? Start from dino_vit-small-p16_1xb64-coslr-200e_small-data.py instead.
_base_ = './dino_vit-small-p16_1xb64-coslr-100e_in1k.py'

train_dataloader = dict(dataset=dict(dataset=dict(data_root='data/custom')))
