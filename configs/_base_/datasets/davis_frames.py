# The 25 bundled frames of DAVIS, 2 classes: the object and its surroundings. Every second frame
# trains, the others test.
_base_ = './seg_default.py'

__scale = (428, 240)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = __scale
train_pipeline[3].crop_size = (224, 224)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = __scale

__frames = dict(
    type='BaseSegDataset',
    data_root='tests/data/davis',
    data_prefix=dict(img_path='JPEGImages/480p', seg_map_path='Annotations/480p'),
    metainfo=dict(classes=('surroundings', 'object'), palette=[[0, 0, 0], [128, 0, 0]]),
)
__here = dict(num_workers=0, persistent_workers=False)  # no worker processes for so few images
train_dataloader = dict(
    __here,
    batch_size=8,
    dataset=dict(dataset=dict(__frames, indices=list(range(0, 25, 2)), pipeline=train_pipeline)),
)
val_dataloader = dict(
    __here, dataset=dict(dataset=dict(__frames, indices=list(range(1, 25, 2)), pipeline=test_pipeline))
)
test_dataloader = val_dataloader
