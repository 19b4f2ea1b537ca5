# Pascal VOC 2012 with the augmented training set, 21 classes: 10,582 images to train on, 1,449 to validate; converted
# as in mmsegmentation's guide.
_base_ = './seg_default.py'


def __part(split, masks, pipeline):
    return dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(
            type='PascalVOCDataset',
            data_root='data/VOCdevkit/VOC2012',
            data_prefix=dict(img_path='JPEGImages', seg_map_path=masks),
            ann_file=f'ImageSets/Segmentation/{split}.txt',
            pipeline=pipeline,
        ),
    )


train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            __part('train', 'SegmentationClass', _base_.train_pipeline),
            __part('aug', 'SegmentationClassAug', _base_.train_pipeline),
        ],
    ),
)
val_dataloader = dict(dataset=__part('val', 'SegmentationClass', _base_.test_pipeline))
test_dataloader = val_dataloader
