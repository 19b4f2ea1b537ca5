# UPerNet on four layers of a transformer that is fine-tuned with it.
_base_ = './seg_encoder-decoder.py'

model = dict(
    backbone=dict(out_indices='pyramid', drop_path_rate=0.1),
    neck=dict(type='Feature2Pyramid', embed_dim='width', rescales=[4, 2, 1, 0.5], norm_cfg=dict(type='BN')),
    decode_head=dict(
        type='UPerHead',
        in_channels='widths',
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels='widths[2]',
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
)
