# Mask R-CNN by mmdetection on COCO: the backbone is a transformer, fine-tuned, whose maps are made a pyramid.
#
# Command:  bash tools/dist_train.sh configs/detection/vit-small-p16_mask-rcnn_8xb2-1x_coco.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT     (model.backbone.frozen=True: train the rest only)
#           with COCO 2017 in data/coco. mmsegmentation gives the pyramid.
# Hardware: 8 GPUs. Not run by us; some steps on a CPU are in the tests.
# Expected: not run by us. To compare: 51.2 box AP and 44.2 mask AP with iBOT's ViT-B/16 in a Cascade Mask R-CNN (README
#           of bytedance/ibot).
_base_ = [
    '../_base_/datasets/coco_boxes.py',
    '../_base_/models/det_mask-rcnn.py',
    '../_base_/schedules/finetune_layer-decay.py',
]

train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].with_mask = test_pipeline[3].with_mask = True
train_pipeline[4] = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
train_dataloader = dict(dataset=dict(filter_cfg=dict(min_size=32), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
model = dict(data_root='data/coco', class_file='annotations/instances_train2017.json')
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(layer_decay=0.75))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
