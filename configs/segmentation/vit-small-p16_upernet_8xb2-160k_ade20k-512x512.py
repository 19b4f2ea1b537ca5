# UPerNet, fine-tuned, on ADE20K.
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_upernet_8xb2-160k_ade20k-512x512.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_160000.pth
#           with the images in data/ade/ADEChallengeData2016. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: 8 GPUs (bash tools/dist_train.sh CONFIG 8). Not run by us.
# Expected: mIoU; not run by us. To compare: 50.0 with iBOT's ViT-B/16 (README of bytedance/ibot).
_base_ = [
    '../_base_/datasets/ade20k.py',
    '../_base_/models/seg_upernet.py',
    '../_base_/schedules/seg_finetune_160k.py',
]

model = dict(decode_head=dict(num_classes=150), auxiliary_head=dict(num_classes=150))
