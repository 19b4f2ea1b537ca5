# What the decoders share: images in, a timm network, windows at test time. Their widths are those of the network: the
# texts 'width', 'widths' and 'sum(widths)' stand for what the backbone gives; a number in their place
# is taken as it is.
model = dict(
    type='dino_plugin.WidthFromBackbone',
    model='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(type='dino_plugin.TimmFeatureMaps', checkpoint=None),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
