# A linear probe: batch norm and a 1x1 convolution on the frozen patch features of the last layer.
_base_ = './seg_encoder-decoder.py'

model = dict(
    backbone=dict(out_indices=(-1,), frozen=True),
    neck=dict(type='dino_plugin.BatchNormMaps', channels='widths'),
    decode_head=dict(
        type='FCNHead',
        in_channels='width',
        channels='width',
        in_index=0,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
