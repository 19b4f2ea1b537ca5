# DINO's linear probe on ImageNet-1k: a linear classifier on the class tokens of the last four blocks, frozen.
#
# Command:  bash tools/dist_train.sh configs/classification/vit-small-p16_linear_8xb128-100e_in1k.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_100.pth
#           with ImageNet in data/imagenet. CHECKPOINT may hold a network of any width; what else it may be, and the
#           vector for ViT-B and ResNet-50: configs/classification/README.md.
# Hardware: 8 GPUs. Not run by us.
# Expected: top-1 accuracy; not run by us. To compare: 77.0 with DINO's ViT-S/16 (README of facebookresearch/dino).
_base_ = ['../_base_/datasets/cls_imagenet.py', '../_base_/models/cls_vector.py']

model = dict(backbone=dict(features='class', last_blocks=4, frozen=True))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=0.0))

# The learning rate above belongs to a batch of 256 images and is scaled by the batch of all GPUs: 4e-3 at 8 x 128. DINO
# advises to try several.
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=100, eta_min=0.0)]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
