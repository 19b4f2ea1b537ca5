# Depth by DPT's decoder on four layers of the frozen network, with the losses of depth_linear4.py, which also says what
# to set for other than 12 blocks.
_base_ = './depth_linear.py'

model = dict(
    backbone=dict(out_indices=(2, 5, 8, 11)),
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
        ),
        losses=dict(gradient=dict(type='dino_plugin.LogGradientLoss', weight=0.5)),
    ),
)
