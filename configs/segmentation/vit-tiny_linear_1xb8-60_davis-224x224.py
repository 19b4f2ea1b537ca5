# A linear probe of frozen patch features: the object and its surroundings in every second one of the 25 bundled DAVIS
# frames, tested on the frames between them. The quickstart's segmentation step.
#
# Command:  python tools/train.py configs/segmentation/vit-tiny_linear_1xb8-60_davis-224x224.py \
#               --cfg-options model.backbone.checkpoint=work_dirs/quickstart/epoch_22.pth
#           from the top of a checkout, after tools/quickstart.sh
# Hardware: a CPU; about 20 seconds.
# Expected: mIoU 71.0, with the untrained network 67.5 (measured by us in the quickstart, seed 0).
_base_ = ['../_base_/datasets/seg_default.py', '../_base_/models/seg_linear.py', '../_base_/schedules/seg_probe_40k.py']

data_root = 'tests/data/davis'
crop_size = (224, 224)
scale = (428, 240)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = scale
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale

frames = dict(
    type='BaseSegDataset',
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages/480p', seg_map_path='Annotations/480p'),
    metainfo=dict(classes=('surroundings', 'object'), palette=[[0, 0, 0], [128, 0, 0]]),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(frames, indices=list(range(0, 25, 2)), pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='dino_plugin.CheckedSegmentation',
        dataset=dict(frames, indices=list(range(1, 25, 2)), pipeline=test_pipeline),
    ),
)
test_dataloader = val_dataloader

model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=2),
    test_cfg=dict(mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=60)]
train_cfg = dict(max_iters=60, val_interval=60)
default_hooks = dict(checkpoint=dict(interval=60, save_best=None), logger=dict(interval=20))
