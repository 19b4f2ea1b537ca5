# Pascal VOC 2012 with the augmented training set, 21 classes: 10,582 images to train on, 1,449 to validate; converted
# as in mmsegmentation's guide.
_base_ = './seg_default.py'

data_root = 'data/VOCdevkit/VOC2012'
train_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='dino_plugin.CheckedSegmentation',
                dataset=dict(
                    type='PascalVOCDataset',
                    data_root=data_root,
                    data_prefix=dict(img_path='JPEGImages', seg_map_path=masks),
                    ann_file=f'ImageSets/Segmentation/{split}.txt',
                    pipeline={{_base_.train_pipeline}},
                ),
            )
            for masks, split in (('SegmentationClass', 'train'), ('SegmentationClassAug', 'aug'))
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(
            type='PascalVOCDataset',
            data_root=data_root,
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
            ann_file='ImageSets/Segmentation/val.txt',
            pipeline={{_base_.test_pipeline}},
        ),
    ),
)
test_dataloader = val_dataloader
