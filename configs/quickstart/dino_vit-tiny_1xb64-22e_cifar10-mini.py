# The quickstart: DINO on 5,000 real images of 32 px, on two CPU cores.
#
# Command:  bash tools/quickstart.sh                                               (from the top of a checkout)
# Hardware: 2 CPU cores; 8 to 10 minutes of training on a 2.5 GHz Xeon without bf16 arithmetic, 185 to 246 images a
#           second.
# Expected: k-NN top-1 (k 20, class token and mean patch) 51.1 %; untrained 34.0 %, best raw pixels 39.1 %. Measured
#           by us with this command, seed 0; the recipe was tuned on these images (docs/small_data.md). Other processors
#           round differently, which moves it by about a point.
#
# What differs from DINO's recipe, and why, is in docs/small_data.md: a shallow network behind a convolutional stem, a
# teacher that follows faster and is sharper, Sinkhorn-Knopp instead of centring, batch norm in the head, few
# prototypes, KoLeo.
_base_ = ['../_base_/default_runtime.py']

data_root = 'tests/data/cifar10_mini'
size = 32

model = dict(
    type='dino_plugin.SelfDistillationModel',
    data_preprocessor=dict(type='dino_plugin.ViewPreprocessor'),
    backbone=dict(
        type='dino_plugin.TimmBackbone',
        model_name='vit_tiny_r_s16_p8_224',  # a ViT behind a convolutional stem of stride 4
        img_size=size,
        patch_size=2,  # of the stem's output: 8 pixels
        embed_dim=128,
        depth=2,
        num_heads=4,
        weight_init='jax',
    ),
    heads=dict(
        cls=dict(
            type='dino_plugin.DINOHead',
            prototypes=512,
            hidden_dim=512,
            bottleneck_dim=128,
            norm_last_layer=True,
            batch_norm=True,
        )
    ),
    losses=dict(
        dino=dict(
            type='dino_plugin.DINOLoss',
            head='cls',
            student_temperature=0.1,
            teacher_temperature=0.025,
            target=dict(type='dino_plugin.SinkhornKnopp', iterations=3),
        ),
        koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1),
    ),
    momentum=dict(type='dino_plugin.Cosine', start=0.95, end=1.0),
)

optim_wrapper = dict(
    type='dino_plugin.SelfDistillationOptimWrapper',
    constructor='dino_plugin.ParameterGroups',
    precision='fp32',  # the same results on every processor
    clip_mode='global',
    max_norm=3.0,
    optimizer=dict(type='AdamW', lr=1.2e-3, betas=(0.9, 0.999), weight_decay=0.04, fused=True),
)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup', start=0.0, share=0.1, then=dict(type='dino_plugin.Cosine', start=1.0, end=0.01)
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=2.5),
    ),
]

train_cfg = dict(type='dino_plugin.ResumableEpochLoop', max_epochs=22)  # 78 steps each
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
    collate_fn=dict(type='dino_plugin.multi_crop_collate'),
    dataset=dict(
        type='dino_plugin.SeededDataset',
        dataset=dict(
            type='dino_plugin.ImageDataset',
            data_root=f'{data_root}/train',
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=size,
                    global_scale=(0.35, 1.0),
                    local_size=size // 2,
                    local_scale=(0.2, 0.4),
                    num_local=4,
                    photometric=dict(blur_probability=0.0),  # DINO's blur, scaled to 32 px, is none
                ),
                dict(type='dino_plugin.PackViews'),
            ],
        ),
    ),
)

labelled_images = dict(
    batch_size=250,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='dino_plugin.image_collate'),
    dataset=dict(
        type='dino_plugin.ImageDataset',
        data_root=f'{data_root}/train',
        with_labels=True,
        pipeline=[
            dict(type='dino_plugin.LoadImage'),
            dict(type='dino_plugin.ResizeCentreCrop', resize=size, crop=size),
            dict(type='dino_plugin.PackImage'),
        ],
    ),
)
custom_hooks = [
    dict(type='dino_plugin.EMATeacherHook'),
    dict(type='dino_plugin.SkippedStepsHook', max_in_a_row=10),
    dict(type='dino_plugin.CollapseMonitorHook', interval=26),
    dict(
        type='dino_plugin.KNNHook',
        bank=labelled_images,
        queries=dict(labelled_images, dataset=dict(labelled_images['dataset'], data_root=f'{data_root}/test')),
        interval=8,
        ks=(20,),
        features='class+mean',
    ),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=26), checkpoint=dict(type='CheckpointHook', interval=2, max_keep_ckpts=1)
)
