# mmdetection's own DAB-DETR on a frozen transformer, on COCO: without the bias from boxes to pixels.
#
# Command:  bash tools/dist_train.sh configs/detection/vit-small-p16_dab-detr_8xb2-12e_coco.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           with COCO 2017 in data/coco.
# Hardware: 8 GPUs. Not run by us.
# Expected: not run by us.
_base_ = ['../_base_/datasets/coco_boxes.py', '../_base_/models/det_dab-detr.py', '../_base_/schedules/det_12e.py']

model = dict(data_root='data/coco', class_file='annotations/instances_train2017.json', backbone=dict(windows=2))
