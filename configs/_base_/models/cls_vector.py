# A linear classifier on one vector for each image. Its width is that of the vector: the text 'width' stands for it.
model = dict(
    type='dino_plugin.WidthFromBackbone',
    model='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(type='dino_plugin.TimmFeatureVector', checkpoint=None),
    head=dict(type='LinearClsHead', in_channels='width', num_classes=1000),
)
