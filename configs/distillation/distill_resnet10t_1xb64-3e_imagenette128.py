# The same teacher and images for a convolutional student, a ResNet-10-T with a map of one cell for 8 pixels.
#
# Command:  python tools/train.py configs/distillation/distill_resnet10t_1xb64-3e_imagenette128.py \
#               --cfg-options model.losses.regression.teacher.checkpoint=FILE
#           (images: as in dino/dino_vit-tiny_1xb64-9e_imagenette128.py; FILE: a ViT-S/14)
# Hardware: 2 CPU cores. Not run by us to the end.
# Expected: no figure.
_base_ = './distill_vit-tiny_1xb64-3e_imagenette128.py'

model = dict(
    backbone=dict(_delete_=True, type='dino_plugin.TimmBackbone', model_name='resnet10t', output_stride=8),
)
