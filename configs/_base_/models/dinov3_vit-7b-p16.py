# DINOv3 with ViT-7B/16, as the authors pretrain it.
_base_ = './dinov3_vit-large-p16.py'

temperature = dict(share=0.1)  # 100,000 of a million iterations

model = dict(
    backbone=dict(
        model_name='vit_7b_patch16_dinov3',
        num_reg_tokens=4,
        subset_drop_path=0.4,
        rope_rescale_coords=2.0,
        local_norm=True,
        gradient_checkpointing=True,
        compile_blocks=True,
    ),
    heads=dict(
        cls=dict(prototypes=262144, hidden_dim=8192, bottleneck_dim=512),
        patch=dict(prototypes=98304, hidden_dim=4096, bottleneck_dim=384),
    ),
    losses=dict(dino=dict(teacher_temperature=temperature), ibot=dict(teacher_temperature=temperature)),
    momentum=0.994,
)
