# Images of any number of channels: satellites, microscopes, medicine. TIFF, .npy or PNG, 8 to 32 bits, no labels.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-200e_channels.py --images path/to/images
#           mean and std before: python tools/measure_normalisation.py \
#               configs/dino/dino_vit-small-p16_1xb64-coslr-200e_channels.py path/to/images
# Hardware: one GPU of 24 GB; 10,000 images are 31,000 steps in 200 epochs. Not run by us at this size.
# Expected: no figure. A tiny network on five channels of 12 bits trains in the tests.
#
# A config of your own; docs/channels.md has three, for satellites, medicine and microscopes:
#   _base_ = 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-200e_channels.py'
#   model = dict(
#       num_images=5000,
#       backbone=dict(in_chans=5),
#       data_preprocessor=dict(mean=[119.3, 119.3, 110.9, 128.0, 127.8], std=[61.2, 58.9, 59.8, 14.9, 17.1]),
#   )
#   __images = _base_.train_dataloader.dataset.dataset
#   __images.data_root = 'path/to/images'
#   __images.pipeline[0] = dict(type='dino_plugin.LoadChannels', num_channels=5, bits=12)
#   __images.pipeline[1].update(photometric='paper', rgb_channels=(0, 1, 2))
#
# This file is set for Sentinel-2: 13 bands, reflectance times 10,000. Its mean and std are no measurement.
# - LoadChannels: the channels of a file; which number is black (level 0), and which white (255).
# - MultiCrop: photometric='channels' has brightness, contrast and blur, for every channel. Saturation, hue, greyscale
#   and solarisation, as in 'paper', need rgb_channels, and change these alone.
# - For 200,000 images and more, set the same over dino_vit-small-p16_1xb64-coslr-100e_custom.py.
_base_ = ['./dino_vit-small-p16_1xb64-coslr-200e_small-data.py', '../_base_/datasets/sentinel2.py']

__channels = _base_.pop('sentinel2')
__pipeline = _base_.train_dataloader.dataset.dataset.pipeline
model, train_dataloader, __pipeline[0] = __channels.model, __channels.train_dataloader, __channels.load
__pipeline[1].photometric = 'channels'
