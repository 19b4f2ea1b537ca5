# Depth by DPT's decoder on four layers of the frozen network; for other than 12 blocks see depth_linear4.py.
_base_ = './depth_linear4.py'

model = dict(
    backbone=dict(class_token=False),
    neck=dict(_delete_=True, type='dino_plugin.MapsWithoutReadout'),
    decode_head=dict(
        head=dict(
            _delete_=True,
            type='DPTHead',
            embed_dims='width',
            in_channels='widths',
            in_index=(0, 1, 2, 3),
            input_transform='multiple_select',
            channels=256,
            dropout_ratio=0.0,
            align_corners=False,
            norm_cfg=dict(type='SyncBN'),
        )
    ),
)
