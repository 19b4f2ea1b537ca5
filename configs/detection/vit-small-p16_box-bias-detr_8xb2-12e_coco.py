# A detector of the DETR family on a frozen transformer, on COCO: four layers of patches, in 2 x 2 windows and whole.
#
# Command:  bash tools/dist_train.sh configs/detection/vit-small-p16_box-bias-detr_8xb2-12e_coco.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           with COCO 2017 in data/coco.
# Hardware: 8 GPUs. Not run by us.
# Expected: not run by us. To compare: 50.9 AP with a SwinV2-S that is trained, too (README of Plain-DETR).
_base_ = [
    '../_base_/datasets/coco_boxes.py',
    '../_base_/models/det_box-bias-detr.py',
    '../_base_/schedules/det_12e.py',
]

model = dict(
    data_root='data/coco', class_file='annotations/instances_train2017.json', backbone=dict(windows=2), num_queries=900
)
