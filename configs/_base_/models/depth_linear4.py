# As DINOv2: four layers, each with the class token beside its patches, and the loss of the gradient as well. For other
# than 12 blocks set model.backbone.out_indices: (4, 11, 17, 23) of 24, (9, 19, 29, 39) of 40.
_base_ = './depth_linear.py'

model = dict(
    backbone=dict(out_indices=(2, 5, 8, 11), class_token=True),
    decode_head=dict(
        head=dict(in_channels='widths', in_index=(0, 1, 2, 3), input_transform='resize_concat', channels='sum(widths)'),
        losses=dict(gradient=dict(type='dino_plugin.LogGradientLoss', weight=0.5)),
    ),
)
