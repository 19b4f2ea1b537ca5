# A shipped recipe inherited in a program that knows nothing of dino_plugin.
_base_ = __import__('dino_plugin') and 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'

model = dict(
    backbone=dict(model_name='vit_tiny_patch16_224', img_size=32, depth=2), heads=dict(cls=dict(prototypes=64))
)
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(data_root='photos'))
)
train_cfg = dict(max_epochs=1)
