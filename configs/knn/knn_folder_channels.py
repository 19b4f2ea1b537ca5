# k-NN on class folders of images of any number of channels: DIR/train/<class>/<images> and DIR/val/<class>/<images>.
#
# Command:  python tools/test.py configs/knn/knn_folder_channels.py CHECKPOINT --images DIR
#           CHECKPOINT: of a training by tools/train.py with the same channels, or exported from one.
# Hardware: any; a GPU for more than some thousands of images (model.precision=bf16 halves its time).
# Expected: depends on the images; without learning, 100 divided by the number of classes.
#
# A config of your own, with what the training has (docs/channels.md):
#   _base_ = 'dino_plugin::knn/knn_folder_channels.py'
#   model = dict(data_preprocessor=dict(mean=[119.3, 119.3, 110.9, 128.0, 127.8], std=[61.2, 58.9, 59.8, 14.9, 17.1]))
#   __loader = dict(type='dino_plugin.LoadChannels', num_channels=5, bits=12)
#   _base_.test_dataloader.dataset.pipeline[0] = __loader
#   _base_.test_cfg.bank_dataloader.dataset.pipeline[0] = __loader
_base_ = './knn_folder.py'

model = dict(data_preprocessor=dict(type='dino_plugin.ViewPreprocessor', mean=[64.0] * 13, std=[32.0] * 13))
__loader = dict(type='dino_plugin.LoadChannels', num_channels=13, value_range=(0, 10_000))  # Sentinel-2
_base_.test_dataloader.dataset.pipeline[0] = __loader
_base_.test_cfg.bank_dataloader.dataset.pipeline[0] = __loader
