# A smaller one, for few small images and a frozen network with patches of 14 pixels: four scales from 7 pixels on,
# narrower and fewer layers, fewer regions.
_base_ = './det_mask-rcnn.py'

__strides, __width = [7, 14, 28, 56, 112], 128
__extractor = dict(out_channels=__width, featmap_strides=__strides[:4])
model = dict(
    backbone=dict(frozen=True, drop_path_rate=0.0),
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim='width', rescales=[2, 1, 0.5, 0.25], norm_cfg=dict(type='BN')),
        dict(type='FPN', in_channels='widths', out_channels=__width, num_outs=5),
    ],
    rpn_head=dict(in_channels=__width, feat_channels=__width, anchor_generator=dict(scales=[4], strides=__strides)),
    roi_head=dict(
        bbox_roi_extractor=__extractor,
        bbox_head=dict(in_channels=__width, fc_out_channels=512),
        mask_roi_extractor=__extractor,
        mask_head=dict(in_channels=__width, conv_out_channels=__width, num_convs=2),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=256), rcnn=dict(sampler=dict(num=128))),
)
