# Start from a released backbone and train it on images of other channels: its first layer is spread over them.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb64-continued-20e_channels.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images; the log does not say whether it helped. Compare before and after by k-NN, with
#           configs/knn/knn_folder_channels.py, on images with classes.
#
# Set for Sentinel-2: 13 bands, reflectance times 10,000. Mean and std are no measurement: docs/channels.md says how to
# set them, and the rule for the first layer.
_base_ = ['./dinov2_vit-small-p14_1xb64-continued-20e_custom.py', '../_base_/datasets/sentinel2.py']

__channels = _base_.pop('sentinel2')
__pipeline = _base_.train_dataloader.dataset.dataset.pipeline
model, train_dataloader, __pipeline[0] = __channels.model, __channels.train_dataloader, __channels.load
__pipeline[1].photometric = 'channels'
_base_.optim_wrapper.paramwise_cfg.custom_keys.patch_embed.lr_mult = 0.1  # the first layer is what has to change most
_base_.custom_hooks.pop()  # the guard reads RGB images alone
