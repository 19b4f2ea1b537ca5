# Two frozen teachers at once, DINOv2 and CLIP: each has its loss, its heads and its image normalisation.
#
# Command:  python tools/train.py \
#               configs/distillation/distill_vit-tiny-p16_1xb64-coslr-100e_two-teachers.py --images path/to/images
# Hardware: one GPU of 24 GB. Not run by us with these teachers, which timm downloads.
# Expected: depends on the images. Both losses should fall; whitened targets have one scale.
_base_ = './distill_vit-tiny-p16_1xb64-coslr-100e_custom.py'

__clip = dict(type='dino_plugin.TimmBackbone', model_name='vit_base_patch16_clip_224.openai', pretrained=True)
model = dict(
    heads={name: dict(type='dino_plugin.ProjectionHead') for name in ('to_clip_class', 'to_clip_patch')},
    losses=dict(
        clip=dict(
            type='dino_plugin.FeatureRegressionLoss',
            teacher=__clip,
            class_head='to_clip_class',
            patch_head='to_clip_patch',
        )
    ),
)
