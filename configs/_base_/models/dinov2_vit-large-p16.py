# DINOv2's short recipe with a ViT-L/16: iBOT's two losses through one head, and KoLeo, which spreads the class tokens.
__warm_temperature = dict(type='dino_plugin.Warmup', start=0.04, share=0.3, then=0.07)
__loss = dict(
    head='cls',  # one head for class token and patches
    student_temperature=0.1,
    teacher_temperature=__warm_temperature,
    target=dict(type='dino_plugin.Centering', momentum=0.9),  # each loss has a centre of its own
)

model = dict(
    type='dino_plugin.SelfDistillationModel',
    data_preprocessor=dict(type='dino_plugin.ViewPreprocessor'),
    backbone=dict(
        type='dino_plugin.TimmBackbone',
        model_name='vit_large_patch14_dinov2',  # with LayerScale, 1e-5
        patch_size=16,
        img_size=224,
        position_resampling='dino',
        token_std=1e-6,  # initial class token and registers
        drop_path_rate=0.0,
        subset_drop_path=0.3,  # stochastic depth that skips the work
        mask_token=True,
    ),
    heads=dict(
        cls=dict(
            type='dino_plugin.DINOHead',
            prototypes=65536,
            hidden_dim=2048,
            bottleneck_dim=256,
            norm_last_layer=False,
            batch_norm=False,
        )
    ),
    losses=dict(
        dino=dict(__loss, type='dino_plugin.DINOLoss'),
        ibot=dict(__loss, type='dino_plugin.IBOTPatchLoss'),
        koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1),
    ),
    momentum=dict(type='dino_plugin.Cosine', start=0.992, end=1.0),
)
