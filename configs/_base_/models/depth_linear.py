# Depth from frozen patch features of the last layer: batch norm, a 1x1 convolution to 256 bins, their mean. The
# loss is DINOv3's; DINOv2 adds that of the gradient, see depth_linear4.py.
_base_ = './seg_encoder-decoder.py'

model = dict(
    model='DepthEstimator',
    data_preprocessor=dict(seg_pad_val=0, size=(416, 544)),
    backbone=dict(out_indices=(-1,), frozen=True),
    neck=dict(type='dino_plugin.BatchNormMaps', channels='widths'),
    decode_head=dict(
        type='dino_plugin.DepthFromBins',
        head=dict(
            type='FCNHead',
            in_channels='width',
            channels='width',
            in_index=0,
            num_convs=0,
            concat_input=False,
            dropout_ratio=0.0,
            align_corners=False,
        ),
        losses=dict(scale_invariant=dict(type='dino_plugin.ScaleInvariantLoss')),
    ),
    # The whole image and its mirror image: a window is never larger than the image.
    test_cfg=dict(mode='slide_flip', crop_size=(10_000, 10_000), stride=(10_000, 10_000)),
)
