# The first images of COCO, in data/coco128: 96 to train, 32 others to test, at 224 px.
_base_ = './boxes_default.py'

__root, __size = 'data/coco128', (224, 224)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[4] = dict(type='Resize', scale=__size, keep_ratio=True)
test_pipeline[2].scale = __size
train_dataloader = dict(batch_size=4, dataset=dict(data_root=__root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=__root, pipeline=test_pipeline))
test_dataloader = val_dataloader
# AP, and recall whatever the class (AR@100): are boxes found? With so few images that says more.
val_evaluator = dict(metric=['bbox', 'proposal'], metric_items=['mAP', 'mAP_50', 'AR@100'])
test_evaluator = val_evaluator
