# A frozen ViT-S/14 teaches the quickstart's small ViT its features, class token and patches: no prototypes.
#
# Command:  python tools/train.py configs/distillation/distill_vit-tiny_1xb64-3e_imagenette128.py \
#               --cfg-options model.losses.regression.teacher.checkpoint=FILE
#           (images: as in dino/dino_vit-tiny_1xb64-9e_imagenette128.py; FILE: a ViT-S/14)
# Hardware: 2 CPU cores; 10 minutes on one thread of an Intel Xeon with bf16 arithmetic, measuring included.
# Expected: k-NN top-1 (k 20, class token and mean patch) 64.1 %, untrained 42.2 %; DINO for the same time 58.7 %.
#           Measured by us, seed 0: docs/results.md.
_base_ = ['../dino/dino_vit-tiny_1xb64-9e_imagenette128.py', '../_base_/models/feature_regression.py']

model = _base_.pop('feature_regression')
# The teacher sees whole images, as they are and mirrored, once each: its tokens are kept, 1.1 GB. At 84 px it has 6 x 6
# patches of 14 px, like the student's of 8 px in 48. Crops learn the class token of their image.
_base_.train_dataloader.dataset.dataset.pipeline[1].update(
    global_scale=(1.0, 1.0), num_local=2, local_size=48, local_scale=(0.35, 1.0), anchor_size=84
)
model.losses.regression.update(local_weight=1.0, patch_weight=0.25, keep=2 * 9469)
optim_wrapper = dict(precision='bf16', optimizer=dict(lr=2.4e-3))  # the teacher is three times as fast in bf16
train_cfg = dict(max_epochs=3)  # 147 steps each
