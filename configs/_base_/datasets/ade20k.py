# ADE20K, 150 classes: 20,210 images to train on, 2,000 to validate; laid out as in mmsegmentation's guide.
_base_ = './seg_default.py'

data_root = 'data/ade/ADEChallengeData2016'
train_dataloader = dict(
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(
            type='ADE20KDataset',
            data_root=data_root,
            data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
            pipeline={{_base_.train_pipeline}},
        ),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(
            type='ADE20KDataset',
            data_root=data_root,
            data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
            pipeline={{_base_.test_pipeline}},
        ),
    )
)
test_dataloader = val_dataloader
