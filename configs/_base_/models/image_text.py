# Two trained blocks on a frozen backbone, and a text tower from scratch, dino.txt's for ViT-L. Widths follow the
# backbone.
model = dict(
    type='dino_plugin.ImageTextModel',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
    vision=dict(blocks=2, drop_path=0.3, features='class+mean'),
    text=dict(width=1280, heads=20, layers=24, context_length=77),
    loss=dict(kind='softmax'),
)
