# A frozen ViT-S/14 teaches the quickstart's small ViT its features, class token and patches: no prototypes.
#
# Command:  python tools/train.py configs/distillation/distill_vit-tiny_1xb64-1e_imagenette128.py \
#               --cfg-options model.losses.regression.teacher.checkpoint=FILE
#           (images: as in dino/dino_vit-tiny_1xb64-9e_imagenette128.py; FILE: a ViT-S/14)
# Hardware: 2 CPU cores; 4.3 minutes of the processor on one thread of an Intel Xeon with bf16 arithmetic (11 by the
#           clock, with much other work beside).
# Expected: k-NN top-1 (k 20, class token and mean patch) 42.8 %, no better than untrained (42.2 %): 147 steps are too
#           few. DINO for the same time: 49.4 %. Measured by us, seed 0, with heads without batch norm
#           (model.heads.*.batch_norm=False); with it 35.5 %, and 38.3 % after three epochs: docs/results.md.
_base_ = ['../dino/dino_vit-tiny_1xb64-9e_imagenette128.py', '../_base_/models/feature_regression.py']

model = _base_.pop('feature_regression')
# The teacher sees 84 px: 6 x 6 patches of 14 px, like the student's of 8 px in 48.
_base_.train_dataloader.dataset.dataset.pipeline[1].update(num_local=0, anchor_size=84)
optim_wrapper = dict(precision='bf16')  # three times as fast for the teacher, on processors that compute in it
train_cfg = dict(max_epochs=1)  # 147 steps
