# Depth by DPT's decoder on four layers, on NYU.
#
# Command:  bash tools/dist_train.sh configs/depth/vit-small-p16_dpt_8xb2-38k_nyu-416x544.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_38400.pth --show-dir predictions
#           with the images as in configs/depth/README.md. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: 8 GPUs. Not run by us.
# Expected: not run by us.
_base_ = [
    '../_base_/datasets/nyu_depth.py',
    '../_base_/models/depth_dpt.py',
    '../_base_/schedules/depth_38k.py',
]
