# Depth by a linear probe, on a rendered living room (augmented ICL-NUIM): 150 frames to learn, the last 61 to test.
#
# Command:  python tools/train.py configs/depth/vit-small-p14_linear_1xb4-300_livingroom-308x406.py \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/iter_300.pth --show-dir predictions
#           with the frames in data/rgbd/livingroom/{color,depth}, depths in millimetres. CHECKPOINT: a ViT-S/14.
# Hardware: 2 CPU cores; 33 minutes on one thread of an Intel Xeon, with much other work beside.
# Expected: RMSE 0.365 m with a ViT-S/14, 0.489 m with an untrained one. Measured by us, seed 0, with
#           mmengine's one-cycle schedule, which this recipe had then: docs/results.md.
_base_ = './vit-small-p16_linear_1xb8-2k_custom.py'

__frames = dict(data_root='data/rgbd/livingroom', images='color', depths='depth')
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline.insert(2, dict(type='Resize', scale=(440, 330)))
train_pipeline[5].crop_size = (308, 406)
test_pipeline.insert(1, dict(type='Resize', scale=(411, 308)))  # before LoadDepth: compared at the size of the files
train_dataloader = dict(batch_size=4, dataset=dict(__frames, pipeline=train_pipeline, indices=list(range(150))))
val_dataloader = dict(dataset=dict(__frames, pipeline=test_pipeline, indices=list(range(150, 211))))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=(308, 406)))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_iters=300, val_interval=300)
_base_.param_scheduler[0].end = 100
_base_.param_scheduler[1].update(begin=100, end=300)
default_hooks = dict(checkpoint=dict(interval=300))
