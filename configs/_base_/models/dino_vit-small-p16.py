# DINO with a ViT-S/16, as in DINO's code by default.
model = dict(
    type='dino_plugin.SelfDistillationModel',
    data_preprocessor=dict(type='dino_plugin.ViewPreprocessor'),
    backbone=dict(
        type='dino_plugin.TimmBackbone',
        model_name='vit_small_patch16_224',
        drop_path_rate=0.1,
        position_resampling='dino',  # for local views, as the authors' code does it
        token_std=0.02,  # initial weights, likewise
    ),
    heads=dict(
        cls=dict(
            type='dino_plugin.DINOHead',
            prototypes=65536,
            hidden_dim=2048,
            bottleneck_dim=256,
            norm_last_layer=True,
            batch_norm=False,
        )
    ),
    losses=dict(
        dino=dict(
            type='dino_plugin.DINOLoss',
            head='cls',
            student_temperature=0.1,
            # 0.04 throughout; longer recipes warm it up
            teacher_temperature=dict(type='dino_plugin.Warmup', start=0.04, share=0.0, then=0.04),
            target=dict(type='dino_plugin.Centering', momentum=0.9),
        )
    ),
    momentum=dict(type='dino_plugin.Cosine', start=0.996, end=1.0),
)
