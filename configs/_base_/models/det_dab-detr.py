# DAB-DETR on one map of a frozen network: four layers side by side, attention over the whole image.
# 'classes' is the number of classes of class_file, 'widths' the channels of the map.
__width = 256
__attention = dict(embed_dims=__width, num_heads=8)
__feed_forward = dict(
    embed_dims=__width, feedforward_channels=2048, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type='PReLU')
)
model = dict(
    type='dino_plugin.DetectorForClasses',
    class_file='annotations/instances_train.json',
    data_root='data/boxes',
    model='DABDETR',
    num_queries=300,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(type='dino_plugin.TimmJoinedMaps', checkpoint=None, frozen=True),
    neck=dict(
        type='ChannelMapper',
        in_channels='widths',
        kernel_size=1,
        out_channels=__width,
        act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=1,
    ),
    encoder=dict(
        num_layers=6, layer_cfg=dict(self_attn_cfg=dict(__attention, batch_first=True), ffn_cfg=__feed_forward)
    ),
    decoder=dict(
        num_layers=6,
        return_intermediate=True,
        layer_cfg=dict(
            self_attn_cfg=dict(__attention, cross_attn=False),
            cross_attn_cfg=dict(__attention, cross_attn=True),
            ffn_cfg=__feed_forward,
        ),
    ),
    positional_encoding=dict(num_feats=__width // 2, temperature=20, normalize=True),
    bbox_head=dict(
        type='DABDETRHead',
        num_classes='classes',
        embed_dims=__width,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
    ),
    train_cfg=dict(
        assigner=dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='FocalLossCost', weight=2.0, eps=1e-8),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.0),
            ],
        )
    ),
    test_cfg=dict(max_per_img=100),
)
