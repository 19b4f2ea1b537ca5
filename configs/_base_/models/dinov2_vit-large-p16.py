# DINOv2's short recipe with a ViT-L/16: iBOT, KoLeo, LayerScale, and stochastic depth that skips the work.
_base_ = './ibot_vit-small-p16.py'

model = dict(
    backbone=dict(
        model_name='vit_large_patch14_dinov2',  # with LayerScale, 1e-5
        patch_size=16,
        img_size=224,
        drop_path_rate=0.0,
        subset_drop_path=0.3,
    ),
    heads=dict(cls=dict(prototypes=65536)),
    losses=dict(koleo=dict(type='dino_plugin.KoLeoLoss', weight=0.1)),
    momentum=dict(start=0.992),
)
