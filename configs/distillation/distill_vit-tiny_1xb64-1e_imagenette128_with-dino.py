# Feature regression beside DINO's own losses: the frozen network is one more term, the EMA teacher stays DINO's.
#
# Command:  python tools/train.py configs/distillation/distill_vit-tiny_1xb64-1e_imagenette128_with-dino.py \
#               --cfg-options model.losses.regression.teacher.checkpoint=FILE
#           (images: as in dino/dino_vit-tiny_1xb64-9e_imagenette128.py; FILE: a ViT-S/14)
# Hardware: 2 CPU cores. Not run by us to the end.
# Expected: no figure.
_base_ = ['../dino/dino_vit-tiny_1xb64-9e_imagenette128.py', '../_base_/models/feature_regression.py']

model = _base_.pop('feature_regression')
for __part in (model.heads, model.losses):
    __part.pop('_delete_')
model.losses.regression.local_weight = 1.0  # DINO's local views learn the class token, too
_base_.train_dataloader.dataset.dataset.pipeline[1].update(anchor_size=84)
optim_wrapper = dict(precision='bf16')
train_cfg = dict(max_epochs=1)  # 147 steps
