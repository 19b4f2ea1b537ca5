# Depth by a linear probe of four layers, on KITTI.
#
# Command:  bash tools/dist_train.sh configs/depth/vit-small-p16_linear4_8xb2-38k_kitti-352x704.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_38400.pth --show-dir predictions
#           with the images as in configs/depth/README.md. CHECKPOINT: see configs/segmentation/README.md.
# Hardware: 8 GPUs. Not run by us.
# Expected: not run by us.
_base_ = [
    '../_base_/datasets/kitti_depth.py',
    '../_base_/models/depth_linear4.py',
    '../_base_/schedules/depth_38k.py',
]

model = dict(data_preprocessor=dict(size=(352, 704)), decode_head=dict(max_depth=80.0))
