# A linear probe of frozen patch features, on CamVid.
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_linear_1xb16-2k_camvid-352x352.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_2000.pth
#           with the images in data/camvid. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: one GPU; a CPU is enough for a small network (docs/results.md).
# Expected: mIoU; see docs/results.md for what small networks reached.
_base_ = [
    '../_base_/datasets/camvid.py',
    '../_base_/models/seg_linear.py',
    '../_base_/schedules/seg_probe_2k.py',
]

model = dict(
    data_preprocessor=dict(size=(352, 352), seg_pad_val=11),
    decode_head=dict(num_classes=11, ignore_index=11),
    test_cfg=dict(mode='whole'),
)
