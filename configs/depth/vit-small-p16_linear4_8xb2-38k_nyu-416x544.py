# Depth by a linear probe of four layers, on NYU.
#
# Command:  bash tools/dist_train.sh configs/depth/vit-small-p16_linear4_8xb2-38k_nyu-416x544.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_38400.pth --show-dir predictions
#           with the images as in configs/depth/README.md. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: 8 GPUs. Not run by us.
# Expected: not run by us. RMSE of DINOv2's ViT-S/14 0.417, ViT-B/14 0.362, ViT-L/14 0.333 (its MODEL_CARD).
_base_ = [
    '../_base_/datasets/nyu_depth.py',
    '../_base_/models/depth_linear4.py',
    '../_base_/schedules/depth_38k.py',
]
