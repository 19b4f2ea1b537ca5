# iBOT with a ViT-S/16: DINO, and a second loss on masked patches through the same head.
_base_ = './dino_vit-small-p16.py'

__warm_temperature = dict(type='dino_plugin.Warmup', start=0.04, share=0.3, then=0.07)

model = dict(
    backbone=dict(mask_token=True),
    heads=dict(cls=dict(prototypes=8192, norm_last_layer=False)),
    losses=dict(
        dino=dict(teacher_temperature=__warm_temperature),
        ibot=dict(
            type='dino_plugin.IBOTPatchLoss',
            head='cls',  # the same name: one head for class token and patches
            student_temperature=0.1,
            teacher_temperature=__warm_temperature,
            target=dict(type='dino_plugin.Centering', momentum=0.9),  # a centre of its own
        ),
    ),
)
