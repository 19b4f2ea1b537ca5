# COCO-Stuff 164k, 171 classes: 118,287 images to train on, 5,000 to validate; converted as in mmsegmentation's guide.
_base_ = './seg_default.py'

data_root = 'data/coco_stuff164k'
train_dataloader = dict(
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(
            type='COCOStuffDataset',
            data_root=data_root,
            data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017'),
            pipeline={{_base_.train_pipeline}},
        ),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(
            type='COCOStuffDataset',
            data_root=data_root,
            data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
            pipeline={{_base_.test_pipeline}},
        ),
    )
)
test_dataloader = val_dataloader
