# DINOv3 with a ViT-L/16: DINOv2's losses with two heads, rotary positions, heads that end in a plain linear layer.
_base_ = './dinov2_vit-large-p14_long.py'

__temperature = dict(share=30 / 100)

_base_.model.backbone.pop('position_resampling')  # rotary positions are never resampled
model = dict(
    backbone=dict(model_name='vit_large_patch16_dinov3_qkvb', patch_size=16, num_reg_tokens=0, token_std=0.02),
    heads=dict(
        cls=dict(prototypes=65536, bottleneck_dim=256, weight_norm=False),
        patch=dict(prototypes=65536, weight_norm=False),
    ),
    losses=dict(dino=dict(teacher_temperature=__temperature), ibot=dict(teacher_temperature=__temperature)),
    momentum=dict(start=0.992),
)
