# Your own folder of images: a frozen DINOv2 ViT-S/14 teaches a ViT-Ti/16. No labels, and no prototypes to tune.
#
# Command:  python tools/train.py configs/distillation/distill_vit-tiny-p16_1xb64-coslr-100e_custom.py --images photos
#           another student: --cfg-options model.backbone.model_name=mobilenetv3_large_100
#           another teacher: --cfg-options model.losses.regression.teacher.model_name=vit_base_patch14_dinov2.lvd142m
#           a file: in a config of yours, model.losses.regression.teacher=dict(_delete_=True,
#                   type='dino_plugin.TimmBackbone', checkpoint='FILE')
# Hardware: one GPU of 16 GB; the time grows with the number of images. Not run by us. timm downloads the teacher.
# Expected: depends on the images. loss_regression should fall; what is left is what the student cannot express.
_base_ = ['../dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', '../_base_/models/feature_regression.py']

model = _base_.pop('feature_regression')
model.backbone = dict(_delete_=True, type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224')
model.losses.regression.teacher = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_small_patch14_dinov2.lvd142m', pretrained=True
)
model.momentum = dict(start=0.99)
_base_.train_dataloader.dataset.dataset.pipeline[1].update(num_local=0, anchor_size=224)  # no colours for the teacher
optim_wrapper = dict(optimizer=dict(lr=2e-3))  # 5e-4 at this batch of 64
