# KITTI, Eigen's split: lists of "image depth focal", depths in 1/256 m, the lower middle of 352 x 1216 pixels, Garg's
# crop.
_base_ = './depth_default.py'

__files = dict(data_root='data/kitti', images='raw', depths='annotated')
__load = dict(type='dino_plugin.LoadDepth', unit=1 / 256)
__window = dict(type='dino_plugin.KeepWindow', rows=(-352, None), columns=1216)
train_pipeline = [_base_.train_pipeline[0], __load, __window, *_base_.train_pipeline[2:]]
train_pipeline[3].degree = 1.0
train_pipeline[5].crop_size = (352, 704)
test_pipeline = [_base_.test_pipeline[0], __load, __window, _base_.test_pipeline[2]]
train_dataloader = dict(batch_size=2, dataset=dict(__files, pairs='kitti_eigen_train.txt', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(__files, pairs='kitti_eigen_test.txt', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(max_depth=80.0, crop='garg')
test_evaluator = val_evaluator
