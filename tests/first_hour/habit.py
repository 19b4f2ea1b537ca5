# Our names in a config of one's own, as OpenMMLab's guides write it, for OpenMMLab's own programs.
custom_imports = dict(imports=['dino_plugin'], allow_failed_imports=False)

model = dict(
    type='dino_plugin.SelfDistillationModel',
    data_preprocessor=dict(type='dino_plugin.ViewPreprocessor'),
    backbone=dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, depth=2),
    heads=dict(cls=dict(type='dino_plugin.DINOHead', prototypes=64, hidden_dim=32, bottleneck_dim=16)),
    losses=dict(dino=dict(type='dino_plugin.DINOLoss', head='cls', target=dict(type='dino_plugin.Centering'))),
    momentum=dict(type='dino_plugin.Cosine', start=0.99, end=1.0),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    drop_last=True,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='dino_plugin.multi_crop_collate'),
    dataset=dict(
        type='dino_plugin.ImageDataset',
        data_root='photos',
        pipeline=[
            dict(type='dino_plugin.LoadImage'),
            dict(type='dino_plugin.MultiCrop', global_size=32, local_size=16, num_local=2),
            dict(type='dino_plugin.PackViews'),
        ],
    ),
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(by_epoch=True, max_epochs=1)
custom_hooks = [dict(type='dino_plugin.EMATeacherHook')]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1))
launcher = 'none'
