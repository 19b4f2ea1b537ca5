# DINOv2's +ms probe (last four layers, test-time augmentation), on Pascal VOC 2012 (aug).
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_linear-ms_1xb16-40k_voc12aug-640x640.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_40000.pth --tta
#           with the images in data/VOCdevkit/VOC2012. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: one GPU. Not run by us.
# Expected: mIoU. Not run by us, and we know of no published figure.
_base_ = [
    '../_base_/datasets/voc12aug.py',
    '../_base_/datasets/seg_multi-scale.py',
    '../_base_/models/seg_linear-ms.py',
    '../_base_/schedules/seg_probe_40k.py',
]

train_pipeline, test_pipeline, tta_pipeline = _base_.pop('multi_scale')
for __part in _base_.train_dataloader.dataset.datasets:
    __part.dataset.pipeline = train_pipeline
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=test_pipeline)))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=21))
