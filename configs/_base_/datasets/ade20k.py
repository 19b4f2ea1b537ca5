# ADE20K, 150 classes: 20,210 images to train on, 2,000 to validate; laid out as in mmsegmentation's guide.
_base_ = './seg_default.py'

__train = dict(img_path='images/training', seg_map_path='annotations/training')
__val = dict(img_path='images/validation', seg_map_path='annotations/validation')
__ade20k = dict(type='ADE20KDataset', data_root='data/ade/ADEChallengeData2016')
train_dataloader = dict(dataset=dict(dataset=dict(__ade20k, data_prefix=__train)))
val_dataloader = dict(dataset=dict(dataset=dict(__ade20k, data_prefix=__val)))
test_dataloader = val_dataloader
