# What all depth configs share. Pipelines, loaders and estimators are mmsegmentation's but the names with the prefix
# dino_plugin.
_base_ = './seg_default.py'

__images = dict(_delete_=True, type='dino_plugin.DepthDataset')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='dino_plugin.LoadDepth', unit=0.001),
    dict(type='RandomRotate', prob=0.5, degree=2.5, pad_val=0, seg_pad_val=0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=(416, 544)),
    # Its "contrast" is a factor of all levels. Hue wants a number above 0; 1 of 180 is next to nothing.
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=0,
        contrast_range=(0.75, 1.25),
        saturation_range=(1.0, 1.0),
        hue_delta=1,
    ),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='dino_plugin.LoadDepth', unit=0.001),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(__images, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(__images, pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='dino_plugin.DepthMetric', min_depth=1e-3, max_depth=10.0)
test_evaluator = val_evaluator
default_hooks = dict(
    checkpoint=dict(save_best='depth/rmse', rule='less'),
    depth_range=dict(type='dino_plugin.DepthRangeHook'),
)
