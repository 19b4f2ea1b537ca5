# A linear probe of frozen patch features: the object and its surroundings in every second one of the 25 bundled DAVIS
# frames, tested on the frames between them. The quickstart's segmentation step.
#
# Command:  python tools/train.py configs/segmentation/vit-tiny_linear_1xb8-60_davis-224x224.py \
#               --cfg-options model.backbone.checkpoint=work_dirs/quickstart/epoch_22.pth
#           from the top of a checkout, after tools/quickstart.sh --full
# Hardware: a CPU; about 20 seconds.
# Expected: mIoU 71.0, with the untrained network 67.5 (measured by us in the quickstart, seed 0).
_base_ = [
    '../_base_/datasets/davis_frames.py',
    '../_base_/models/seg_linear.py',
    '../_base_/schedules/seg_probe_40k.py',
]

model = dict(
    data_preprocessor=dict(size=(224, 224)),
    decode_head=dict(num_classes=2),
    test_cfg=dict(mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=60)]
train_cfg = dict(max_iters=60, val_interval=60)
default_hooks = dict(checkpoint=dict(interval=60, save_best=None), logger=dict(interval=20))
