# MoCo v3 on the quickstart's images, network and schedule; SimCLR and BYOL beside it start from here.
#
# Command:  python tools/train.py configs/baselines/mocov3_vit-tiny_1xb64-22e_cifar10-mini.py    (from a checkout)
#           (needs `pip install lightly`)
# Hardware: 2 CPU cores; less work than the quickstart: no local views.
# Expected: not measured. DINO reaches k-NN 49.9 % here (configs/quickstart/). Its settings were tuned on these images;
#           the settings of this file were not.
#
# Lightly's heads, smaller, and its NTXentLoss instead of the authors' loss: see the ImageNet config. The teacher's
# momentum is the quickstart's.
_base_ = '../quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'

__projector = dict(
    type='lightly.models.modules.heads.MoCoProjectionHead',
    hidden_dim=512,
    output_dim=128,
    num_layers=3,
    batch_norm=True,
)
model = dict(
    heads=dict(_delete_=True, projector=__projector, predictor=dict(__projector, input_dim=128, num_layers=2)),
    losses=dict(
        _delete_=True,
        mocov3=dict(
            type='dino_plugin.LightlyPairLoss',
            criterion=dict(type='lightly.loss.NTXentLoss', temperature=0.2),
            projector='projector',
            predictor='predictor',
        ),
    ),
)

__multi_crop = dict(
    type='dino_plugin.MultiCrop',
    global_size=32,
    global_scale=(0.35, 1.0),
    num_local=0,
    photometric=dict(blur_probability=0.0),
)
_base_.train_dataloader.dataset.dataset.pipeline[1] = __multi_crop
