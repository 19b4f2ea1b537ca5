# CamVid, 11 classes and 11 = no label: SegNet's split, 367 / 101 / 233 images of 480x360 pixels, as
# img_dir/{train,val,test}/*.jpg and ann_dir/{train,val,test}/*.png.
_base_ = './seg_default.py'

__no_label = 11
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (480, 360)
train_pipeline[3].update(crop_size=(352, 352), ignore_index=__no_label)
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.0, 1.5)]

__metainfo = dict(
    classes=(
        'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist',
    ),
    palette=[
        [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
        [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
    ],
)  # fmt: skip
__camvid = dict(type='BaseSegDataset', data_root='data/camvid', metainfo=__metainfo, ignore_index=__no_label)


def __images(split, pipeline):
    prefix = dict(img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}')
    return dict(dataset=dict(dataset=dict(__camvid, data_prefix=prefix, pipeline=pipeline)))


train_dataloader = __images('train', train_pipeline)
val_dataloader = __images('val', test_pipeline)
test_dataloader = __images('test', test_pipeline)
val_evaluator = dict(ignore_index=__no_label)
test_evaluator = dict(ignore_index=__no_label)
default_hooks = dict(checkpoint=dict(interval=500))
