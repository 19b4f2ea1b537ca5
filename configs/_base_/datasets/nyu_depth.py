# NYU Depth V2 in the layout of DINOv2 and DINOv3: lists of "image depth focal", depths in millimetres; 654 images to
# test, inside of Eigen's crop.
_base_ = './depth_default.py'

__files = dict(data_root='data/nyu', images='', depths='')
train_pipeline = _base_.train_pipeline
train_pipeline.insert(2, dict(type='dino_plugin.KeepWindow', rows=(45, 472), columns=(43, 608)))  # no white frame
train_dataloader = dict(batch_size=2, dataset=dict(__files, pairs='nyu_train.txt', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(__files, pairs='nyu_test.txt'))
test_dataloader = val_dataloader
val_evaluator = dict(crop='eigen')
test_evaluator = val_evaluator
