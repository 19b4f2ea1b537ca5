# A linear probe of frozen patch features, on ADE20K.
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_linear_1xb16-40k_ade20k-512x512.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_40000.pth
#           with the images in data/ade/ADEChallengeData2016. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: one GPU. Not run by us.
# Expected: mIoU; not run by us. To compare: 47.0 with DINOv3's ViT-S/16 (MODEL_CARD of facebookresearch/dinov3).
_base_ = [
    '../_base_/datasets/ade20k.py',
    '../_base_/models/seg_linear.py',
    '../_base_/schedules/seg_probe_40k.py',
]

model = dict(decode_head=dict(num_classes=150))
