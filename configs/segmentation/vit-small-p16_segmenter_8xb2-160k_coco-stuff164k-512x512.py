# Segmenter, fine-tuned, on COCO-Stuff 164k.
#
# Command:  python tools/train.py configs/segmentation/vit-small-p16_segmenter_8xb2-160k_coco-stuff164k-512x512.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_160000.pth
#           with the images in data/coco_stuff164k. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: 8 GPUs (bash tools/dist_train.sh CONFIG 8). Not run by us.
# Expected: mIoU. Not run by us, and we know of no published figure.
_base_ = [
    '../_base_/datasets/coco-stuff164k.py',
    '../_base_/models/seg_segmenter.py',
    '../_base_/schedules/seg_finetune_160k.py',
]

model = dict(decode_head=dict(num_classes=171))
