# A detector of the DETR family on a frozen transformer, on images and boxes of your own.
#
# Command:  python tools/train.py configs/detection/vit-small-p16_box-bias-detr_1xb4-50e_custom.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_50.pth --show-dir predictions
#           with images in data/boxes/{train,val} and boxes in data/boxes/annotations/instances_{train,val}.json, in
#           COCO's format, whose classes are taken. Another folder of this layout: --images DIR.
# Hardware: one GPU. Not run by us with this network.
# Expected: depends on the images.
_base_ = [
    '../_base_/datasets/boxes_default.py',
    '../_base_/models/det_box-bias-detr.py',
    '../_base_/schedules/det_12e.py',
]

train_dataloader = dict(batch_size=4)
model = dict(extra_queries=0, encoder=dict(num_layers=3))  # extra ones take much memory
train_cfg = dict(max_epochs=50, val_interval=5)
_base_.param_scheduler[1].update(end=50, milestones=[40])
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP', rule='greater'))
