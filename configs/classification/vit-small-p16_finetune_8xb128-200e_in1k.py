# Fine-tuning on ImageNet-1k, by iBOT's recipe: everything learns, layers near the image more slowly.
#
# Command:  bash tools/dist_train.sh configs/classification/vit-small-p16_finetune_8xb128-200e_in1k.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_200.pth
#           with ImageNet in data/imagenet. CHECKPOINT may hold a network of any width; what else it may be, and the
#           settings for larger networks: configs/classification/README.md.
# Hardware: 8 GPUs. Not run by us.
# Expected: top-1 accuracy; not run by us. To compare: 82.3 with iBOT's ViT-S/16 (README of bytedance/ibot); its
#           authors try several learning rates.
_base_ = [
    '../_base_/datasets/cls_imagenet.py',
    '../_base_/models/cls_vector.py',
    '../_base_/schedules/finetune_layer-decay.py',
]

train_pipeline = [
    dict(type='dino_plugin.CheckFiles'),
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(features='class', drop_path_rate=0.1),
    head=dict(
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),  # BEiT's 0.02, times 0.001
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(lr=4e-3), paramwise_cfg=dict(layer_decay=0.75))  # for 1,024 images a step
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=200, eta_min=1e-6, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=5)
