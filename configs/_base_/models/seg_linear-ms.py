# DINOv2's "+ms" probe: a linear probe on the last four layers, larger crops, and augmentation at test time
# (tools/test.py --tta).
_base_ = './seg_linear.py'

model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(out_indices=(-4, -3, -2, -1)),
    decode_head=dict(
        in_channels='widths', in_index=(0, 1, 2, 3), input_transform='resize_concat', channels='sum(widths)'
    ),
    test_cfg=dict(crop_size=(640, 640), stride=(320, 320)),
)
