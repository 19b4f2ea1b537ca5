# A detector on a frozen transformer, on 96 images of COCO with 713 boxes of 70 classes; 32 other images to test.
#
# Command:  python tools/train.py configs/detection/vit-small-p14_box-bias-detr_1xb4-30e_coco128-224x224.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_30.pth --show-dir predictions
#           with the images in data/coco128/{train,val}. CHECKPOINT: a ViT-S/14.
# Hardware: 2 CPU cores; 14 minutes on one thread of an Intel Xeon, with much other work beside.
# Expected: on the other images AP 0.3 %, AP50 1.2 %, on the training images 2.5 % and 6.9 %, with a ViT-S/14; untrained
#           0.0 %, 0.0 %, 1.8 % and 5.5 %. Measured by us, seed 0: far from trained, see docs/evaluators/detection.md.
_base_ = [
    '../_base_/datasets/boxes_default.py',
    '../_base_/models/det_box-bias-detr_small.py',
    '../_base_/schedules/det_12e.py',
]

__root, __size = 'data/coco128', (224, 224)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[4] = dict(type='Resize', scale=__size, keep_ratio=True)
test_pipeline[2].scale = __size
train_dataloader = dict(batch_size=4, dataset=dict(data_root=__root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=__root, pipeline=test_pipeline))
test_dataloader = val_dataloader
# All images are padded to one size, so their maps are computed once, and once mirrored.
model = dict(data_root=__root, data_preprocessor=dict(pad_size_divisor=224), backbone=dict(keep=224))
optim_wrapper = dict(optimizer=dict(lr=4e-4), clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=30, val_interval=30)
_base_.param_scheduler[0].end = 50
_base_.param_scheduler[1].update(end=30, milestones=[25])
