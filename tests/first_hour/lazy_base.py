"""A config in pure Python: classes instead of their names."""

from mmengine.hooks import CheckpointHook, IterTimerHook, LoggerHook, ParamSchedulerHook

from dino_plugin.engine.vocabulary import (
    Centering,
    Cosine,
    DINOHead,
    DINOLoss,
    EMATeacherHook,
    ImageDataset,
    LoadImage,
    MultiCropTransform,
    PackViews,
    ParameterGroups,
    ProgressScheduler,
    ResumableEpochLoop,
    ResumableSampler,
    SeededDataset,
    SelfDistillationModel,
    SelfDistillationOptimWrapper,
    TimmBackbone,
    ViewPreprocessor,
    multi_crop_collate,
)

model = dict(
    type=SelfDistillationModel,
    data_preprocessor=dict(type=ViewPreprocessor),
    backbone=dict(type=TimmBackbone, model_name='vit_tiny_patch16_224', img_size=32, depth=2),
    heads=dict(cls=dict(type=DINOHead, prototypes=64, hidden_dim=32, bottleneck_dim=16)),
    losses=dict(dino=dict(type=DINOLoss, head='cls', target=dict(type=Centering))),
    momentum=dict(type=Cosine, start=0.99, end=1.0),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    drop_last=True,
    sampler=dict(type=ResumableSampler, shuffle=True),
    collate_fn=dict(type=multi_crop_collate),
    dataset=dict(
        type=SeededDataset,
        dataset=dict(
            type=ImageDataset,
            data_root='nowhere',
            pipeline=[
                dict(type=LoadImage),
                dict(type=MultiCropTransform, global_size=32, local_size=16, num_local=2),
                dict(type=PackViews),
            ],
        ),
    ),
)
optim_wrapper = dict(
    type=SelfDistillationOptimWrapper,
    optimizer=dict(type='AdamW', lr=1e-3),
    constructor=ParameterGroups,
)
param_scheduler = [
    dict(type=ProgressScheduler, param_name='lr', by_epoch=False, schedule=dict(type=Cosine, start=1, end=0))
]
train_cfg = dict(type=ResumableEpochLoop, max_epochs=1)
custom_hooks = [dict(type=EMATeacherHook)]
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=1),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, interval=1),
)
default_scope = 'dino_plugin'
