# What a probe that was trained on NYU sees in SUN RGB-D, whose cameras it has not seen: test only.
#
# Command:  python tools/test.py configs/depth/vit-small-p16_linear4_sunrgbd.py NYU_WORK_DIR/iter_38400.pth
#           with the images in data/sunrgbd and a list of "image depth" in data/sunrgbd/sunrgbd_test.txt.
# Hardware: one GPU. Not run by us.
# Expected: not run by us. RMSE of DINOv2's ViT-S/14 0.431, ViT-B/14 0.400, ViT-L/14 0.396 (its MODEL_CARD).
_base_ = './vit-small-p16_linear4_8xb2-38k_nyu-416x544.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1].rotated_bits = 3
test_dataloader = dict(dataset=dict(data_root='data/sunrgbd', pairs='sunrgbd_test.txt', pipeline=test_pipeline))
test_evaluator = dict(crop=None)
