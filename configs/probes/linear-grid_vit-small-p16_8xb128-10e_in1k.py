# DINOv2's linear probe on ImageNet-1k: 13 learning rates x 1 or 4 last blocks x with or without the mean patch, 52
# linear classifiers that learn together from augmented images.
#
# Command:  bash tools/dist_train.sh configs/probes/linear-grid_vit-small-p16_8xb128-10e_in1k.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_10.pth
#           with data/imagenet/{train,val}/<class>/<images>. CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: 8 GPUs. Not run by us. The classifiers of ViT-S have 60 million weights: 0.7 GB with gradients and momentum.
# Expected: top-1 accuracy; not run by us. To compare: 81.1 with DINOv2's ViT-S/14, chosen on the validation set.
#           Its 10 epochs have 1,250 steps each; here an epoch is a pass over nine tenths of the training images.
_base_ = '../_base_/default_runtime.py'

model = dict(
    type='dino_plugin.LinearGrid',
    num_classes=1000,
    learning_rates=(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1),
    last_blocks=(1, 4),
    average_pool=(False, True),
    precision='fp32',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)

__augmented = [
    dict(type='dino_plugin.LoadImage'),
    dict(type='dino_plugin.RandomResizedCrop', size=224),
    dict(type='dino_plugin.PackImage'),
]
__plain = [
    dict(type='dino_plugin.LoadImage'),
    dict(type='dino_plugin.ResizeCentreCrop', resize=256, crop=224),
    dict(type='dino_plugin.PackImage'),
]


def __images(folder, pipeline):
    return dict(type='dino_plugin.ImageDataset', data_root=folder, with_labels=True, pipeline=pipeline)


def __split(held_out, pipeline):
    dataset = __images('data/imagenet/train', pipeline)
    return dict(type='dino_plugin.HeldOutSplit', held_out=held_out, share=0.1, seed=0, dataset=dataset)


def __loader(dataset):
    return dict(
        batch_size=128,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        collate_fn=dict(type='dino_plugin.image_collate'),
        dataset=dataset,
    )


train_dataloader = dict(
    batch_size=128,  # images on each GPU
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
    collate_fn=dict(type='dino_plugin.image_collate'),
    dataset=dict(type='dino_plugin.SeededDataset', dataset=__split(False, __augmented)),
)
val_dataloader = __loader(__split(True, __plain))
test_dataloader = __loader(__images('data/imagenet/val', __plain))
val_evaluator = dict(type='dino_plugin.LinearGridMetric')
test_evaluator = dict(type='dino_plugin.LinearGridMetric', choose_on='held_out')
val_cfg = dict()
test_cfg = dict(type='dino_plugin.LinearGridTestLoop', held_out_dataloader=val_dataloader)

# The classifiers' own learning rates are in the model, for 256 images a step; this factor scales all of them by the
# batch of all GPUs.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, momentum=0.9, weight_decay=0.0))
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=0.0),
    ),
]
train_cfg = dict(type='dino_plugin.ResumableEpochLoop', max_epochs=10, val_interval=1)
default_hooks = dict(backbone=dict(type='dino_plugin.DescribeBackboneHook'))
