# What all detection configs share: pipelines, loaders, logging, checkpoints. Everything is mmdetection's but the names
# with the prefix dino_plugin. Classes are those of the training images' file.
_base_ = '../runtime.py'

default_scope = 'mmdet'
# Names are found without it; but mmdetection cannot be imported on an mmcv without compiled operations before
# dino_plugin is.
custom_imports = dict(imports=['dino_plugin'], allow_failed_imports=False)

__data_root = 'data/boxes'
__class_file = 'annotations/instances_train.json'
train_pipeline = [
    dict(type='dino_plugin.CheckFiles'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomChoiceResize', scales=[(1333, side) for side in range(480, 801, 32)], keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='dino_plugin.CheckFiles'),
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),  # after Resize: predictions are compared at the size of the file
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='dino_plugin.BoxDataset',
        data_root=__data_root,
        ann_file=__class_file,
        data_prefix=dict(img='train'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='dino_plugin.BoxDataset',
        data_root=__data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val'),
        class_file=__class_file,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='dino_plugin.BoxMetric', metric='bbox')
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    visualization=dict(type='DetVisualizationHook'), backbone=dict(type='dino_plugin.DescribeBackboneHook')
)
env_cfg = dict(cudnn_benchmark=False)  # images differ in size
sync_bn = 'torch'
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
auto_scale_lr = dict(enable=False, base_batch_size=16)
randomness = dict(seed=0)
