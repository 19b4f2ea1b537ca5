# Your own folder of images: any depth, no labels, JPEG, PNG, WebP, TIFF or BMP.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch target_information in the log (0 is a collapse), and k-NN if some have labels.
#
# Or as a config of yours, two lines:
#   _base_ = 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
#   train_dataloader = dict(dataset=dict(dataset=dict(data_root='path/to/images')))
#
# Fewer than about 200,000 images? Start from dino_vit-small-p16_1xb64-coslr-200e_small-data.py instead.
_base_ = './dino_vit-small-p16_1xb64-coslr-100e_in1k.py'

train_dataloader = dict(dataset=dict(dataset=dict(data_root='data/custom')))

# Views, attention and patch colours of four images: seconds every ten epochs. default_hooks.pictures.number=0: none.
default_hooks = dict(pictures=dict(type='dino_plugin.PicturesHook', interval=10))
