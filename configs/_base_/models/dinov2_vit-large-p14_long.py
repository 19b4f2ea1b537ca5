# DINOv2's long recipe with a ViT-L/14: patches get a head of their own, targets are balanced by Sinkhorn-Knopp.
_base_ = './dinov2_vit-large-p16.py'

__balanced = dict(_delete_=True, type='dino_plugin.SinkhornKnopp', iterations=3)
__temperature = dict(share=30 / 500)

model = dict(
    backbone=dict(patch_size=14),
    heads=dict(
        cls=dict(prototypes=131072, bottleneck_dim=384),
        patch=dict(_base_.model.heads.cls, prototypes=131072),
    ),
    losses=dict(
        dino=dict(target=__balanced, teacher_temperature=__temperature),
        ibot=dict(head='patch', target=__balanced, teacher_temperature=__temperature),
    ),
    momentum=dict(start=0.994),
)
