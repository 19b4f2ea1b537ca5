# A linear probe of frozen patch features, on Pascal VOC 2012 (aug).
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_linear_1xb16-40k_voc12aug-512x512.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_40000.pth
#           with the images in data/VOCdevkit/VOC2012. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: one GPU. Not run by us.
# Expected: mIoU. Not run by us, and we know of no published figure.
_base_ = [
    '../_base_/datasets/voc12aug.py',
    '../_base_/models/seg_linear.py',
    '../_base_/schedules/seg_probe_40k.py',
]

model = dict(decode_head=dict(num_classes=21))
