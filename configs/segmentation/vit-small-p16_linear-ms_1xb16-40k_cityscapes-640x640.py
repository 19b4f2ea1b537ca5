# DINOv2's +ms probe (last four layers, test-time augmentation), on Cityscapes.
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_linear-ms_1xb16-40k_cityscapes-640x640.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_40000.pth --tta
#           with the images in data/cityscapes. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: one GPU. Not run by us.
# Expected: mIoU. Not run by us, and we know of no published figure.
_base_ = [
    '../_base_/datasets/cityscapes.py',
    '../_base_/datasets/seg_multi-scale.py',
    '../_base_/models/seg_linear-ms.py',
    '../_base_/schedules/seg_probe_40k.py',
]

__short_side = 1024
train_pipeline, test_pipeline, tta_pipeline = _base_.pop('multi_scale')
train_pipeline[2].scale = test_pipeline[1].scale = (100000, __short_side)
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(100000, round(__short_side * ratio)), keep_ratio=True)
    for ratio in (1.0, 1.32, 1.73, 2.28, 3.0)
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=test_pipeline)))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=19))
