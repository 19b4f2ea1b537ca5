# Mask R-CNN on a frozen transformer, on 96 images of COCO with 713 boxes of 70 classes; 32 other images to test.
#
# Command:  python tools/train.py configs/detection/vit-small-p14_mask-rcnn_1xb4-12e_coco128-224x224.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_12.pth --show-dir predictions
#           with the images in data/coco128/{train,val}. CHECKPOINT: a ViT-S/14.
# Hardware: 2 CPU cores; 24 minutes on one thread of an Intel Xeon, with much other work beside.
# Expected: on the other images box AP 2.9 %, AP50 6.4 %, mask AP 1.8 %, AP50 4.8 %, on the training images 20.1 %,
#           40.1 %, 10.4 % and 26.0 %, with a ViT-S/14; untrained 0.1, 0.2, 0.0, 0.1, 11.3, 21.7, 5.3 and 12.9 %.
#           Measured by us, seed 0.
_base_ = [
    '../_base_/datasets/coco128_boxes.py',
    '../_base_/models/det_mask-rcnn_small.py',
    '../_base_/schedules/det_12e.py',
]

train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].with_mask = test_pipeline[3].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(metric=['bbox', 'segm', 'proposal'])
# All images are padded to one size, so their maps are computed once, and once mirrored.
model = dict(data_root='data/coco128', data_preprocessor=dict(pad_size_divisor=224), backbone=dict(keep=224))
optim_wrapper = dict(optimizer=dict(lr=4e-4), clip_grad=dict(max_norm=1.0))
train_cfg = dict(val_interval=12)
_base_.param_scheduler[0].end = 50
_base_.param_scheduler[1].update(end=12, milestones=[10])
