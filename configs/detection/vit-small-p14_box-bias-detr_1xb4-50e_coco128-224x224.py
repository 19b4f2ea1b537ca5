# A detector on a frozen transformer, on 96 images of COCO with 713 boxes of 70 classes; 32 other images to test.
#
# Command:  python tools/train.py configs/detection/vit-small-p14_box-bias-detr_1xb4-50e_coco128-224x224.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_50.pth --show-dir predictions
#           with the images in data/coco128/{train,val}. CHECKPOINT: a ViT-S/14.
# Hardware: 2 CPU cores; 23 minutes on one thread of an Intel Xeon, with much other work beside.
# Expected: on the other images AP 0.2 %, AP50 0.7 %, on the training images 6.4 % and 18.2 %, with a ViT-S/14.
#           Measured by us, seed 0, not trained to the end; untrained network: 0.0 %, 0.0 %, 1.8 %, 6.3 %. See
#           docs/evaluators/detection.md.
_base_ = [
    '../_base_/datasets/coco128_boxes.py',
    '../_base_/models/det_box-bias-detr_small.py',
    '../_base_/schedules/det_12e.py',
]

# All images are padded to one size, so their maps are computed once, and once mirrored.
model = dict(data_root='data/coco128', data_preprocessor=dict(pad_size_divisor=224), backbone=dict(keep=224))
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=50, val_interval=50)
_base_.param_scheduler[0].end = 50
_base_.param_scheduler[1].update(end=50, milestones=[40])
