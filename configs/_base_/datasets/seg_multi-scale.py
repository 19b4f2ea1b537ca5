# The pipelines of DINOv2's "+ms" probe: sides of 640 px and up to three times as much, crops of 640 px, five sizes at
# test time. They are a part, not a setting: a recipe takes `multi_scale` out and puts the pipelines in their places.
# Another side than 640: as in segmentation/vit-small-p16_linear-ms_1xb16-40k_cityscapes-640x640.py.
__short_side = 640
__load, __annotations = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
__pack = dict(type='PackSegInputs')

multi_scale = [
    [  # training
        __load,
        __annotations,
        dict(type='RandomResize', scale=(100000, __short_side), ratio_range=(1.0, 3.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(640, 640), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        __pack,
    ],
    [__load, dict(type='Resize', scale=(100000, __short_side), keep_ratio=True), __annotations, __pack],  # test
    [  # test with --tta
        __load,
        dict(
            type='TestTimeAug',
            transforms=[
                [
                    dict(type='Resize', scale=(100000, round(__short_side * ratio)), keep_ratio=True)
                    for ratio in (1.0, 1.32, 1.73, 2.28, 3.0)
                ],
                [dict(type='RandomFlip', prob=probability, direction='horizontal') for probability in (0.0, 1.0)],
                [__annotations],
                [__pack],
            ],
        ),
    ],
]
