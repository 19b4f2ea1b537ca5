# Cityscapes, 19 classes: 2,975 images of 2048x1024 pixels to train on, 500 to validate; converted as in
# mmsegmentation's guide.
_base_ = './seg_default.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (2048, 1024)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 1024)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(100000, round(1024 * ratio)), keep_ratio=True)
    for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
]

__train = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
__val = dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')
__cityscapes = dict(type='CityscapesDataset', data_root='data/cityscapes')
train_dataloader = dict(dataset=dict(dataset=dict(__cityscapes, data_prefix=__train, pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(__cityscapes, data_prefix=__val, pipeline=test_pipeline)))
test_dataloader = val_dataloader
