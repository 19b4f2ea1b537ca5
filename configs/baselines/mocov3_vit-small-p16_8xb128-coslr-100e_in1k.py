# MoCo v3 with a ViT-S/16: its authors' optimiser, views and heads, Lightly's loss. The other baselines start from here.
#
# Command:  bash tools/dist_train.sh configs/baselines/mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py 8
#           (needs `pip install lightly`)
# Hardware: 8 GPUs; the authors train a ViT-S with 1,024 images on 8 V100 of 32 GB (CONFIG.md of
#           facebookresearch/moco-v3). Not run by us.
# Expected: no figure for these 100 epochs is known to us. The authors' ViT-S reaches linear 73.2 % after 300 epochs
#           with a batch of 4,096 (README of facebookresearch/moco-v3).
#
# What differs from the authors:
# - The length: 100 epochs instead of 300, a warm-up of 10 epochs instead of 40.
# - The loss. MoCo v3 compares a query with the keys of the batch. Lightly has no such loss: its NTXentLoss compares a
#   query with the other queries too, and each key with all queries and the other keys. The factor 2 * temperature is
#   left out; AdamW learns the same without it.
# - The network. timm's ViT-S has 6 heads of attention and learnt positions; theirs has 12 heads and fixed positions.
#   The last batch norm of each head has a scale and a shift.
_base_ = [
    '../_base_/datasets/imagenet_multi-crop.py',
    '../_base_/schedules/adamw_coslr_100e.py',
    '../_base_/default_runtime.py',
]

sync_bn = 'torch'  # the heads' batch norms see the images of all GPUs
__projector = dict(
    type='lightly.models.modules.heads.MoCoProjectionHead',
    hidden_dim=4096,
    output_dim=256,
    num_layers=3,
    batch_norm=True,
)
model = dict(
    type='dino_plugin.SelfDistillationModel',
    data_preprocessor=dict(type='dino_plugin.ViewPreprocessor'),
    backbone=dict(type='dino_plugin.TimmBackbone', model_name='vit_small_patch16_224'),
    heads=dict(projector=__projector, predictor=dict(__projector, input_dim=256, num_layers=2)),
    losses=dict(
        mocov3=dict(
            type='dino_plugin.LightlyPairLoss',
            criterion=dict(type='lightly.loss.NTXentLoss', temperature=0.2, gather_distributed=True),
            projector='projector',
            predictor='predictor',
        )
    ),
    momentum=dict(type='dino_plugin.Cosine', start=0.99, end=1.0),
)

__multi_crop = dict(type='dino_plugin.MultiCrop', global_size=224, global_scale=(0.08, 1.0), num_local=0, split='auto')
_base_.train_dataloader.dataset.dataset.pipeline[1] = __multi_crop

optim_wrapper = dict(
    max_norm=None,
    freeze_last_layer=0.0,
    optimizer=dict(lr=1.5e-4, weight_decay=0.1),  # the rate at a batch of 256: 6e-4 at 8 x 128
    paramwise_cfg=dict(custom_keys={'patch_embed': dict(lr_mult=0.0)}),  # keep the random embedding of patches
)
param_scheduler = _base_.param_scheduler[:1]  # weight decay stays as it is
param_scheduler[0].schedule.then.end = 0.0
