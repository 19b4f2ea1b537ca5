# A linear probe of frozen patch features on CamVid, for the quickstart's network.
#
# Command:  python tools/train.py configs/segmentation/vit-tiny_linear_1xb8-400_camvid-352x352.py \
#               --cfg-options model.backbone.checkpoint=work_dirs/quickstart/epoch_22.pth
#           python tools/test.py CONFIG WORK_DIR/iter_400.pth
#           with the images in data/camvid, after tools/quickstart.sh --full.
# Hardware: a CPU. 23 minutes on one core of a 2.5 GHz Xeon, with other work at the same time.
# Expected: mIoU 19.1 on the test images (24.0 on the validation images); 17.4 (22.8) with the network untrained.
#           Measured by us, one seed; see docs/results.md.
_base_ = './vit-small-p16_linear_1xb16-2k_camvid-352x352.py'

train_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
_base_.param_scheduler[1].end = 400
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=400))
