# DINOv3's first stage, pretraining: a million iterations at constant learning rate, weight decay and momentum.
# The recipe gives network, stochastic depth and batch.
_base_ = [
    '../models/dinov3_vit-large-p16.py',
    '../datasets/images_multi-crop_dinov3.py',
    '../schedules/dinov3_constant_1000k.py',
    '../default_runtime.py',
]

__temperature = dict(share=0.1)  # 100,000 of a million iterations

model = dict(
    backbone=dict(
        num_reg_tokens=4, rope_rescale_coords=2.0, local_norm=True, gradient_checkpointing=True, compile_blocks=True
    ),
    losses=dict(dino=dict(teacher_temperature=__temperature), ibot=dict(teacher_temperature=__temperature)),
    momentum=0.994,
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
