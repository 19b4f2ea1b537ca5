# SimCLR on the quickstart's images, network and schedule.
#
# Command:  python tools/train.py configs/baselines/simclr_vit-tiny_1xb64-22e_cifar10-mini.py    (from a checkout)
#           (needs `pip install lightly`)
# Hardware: 2 CPU cores; less work than the quickstart: no local views.
# Expected: not measured. DINO reaches k-NN 49.9 % here (configs/quickstart/). Its settings were tuned on these images;
#           the settings of this file were not.
#
# Lightly's head, smaller. A batch of 64 has few negatives. Momentum 0 makes the "teacher" equal to the student.
_base_ = './mocov3_vit-tiny_1xb64-22e_cifar10-mini.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.SimCLRProjectionHead', hidden_dim=512, output_dim=128),
    ),
    losses=dict(
        _delete_=True,
        simclr=dict(
            type='dino_plugin.LightlyPairLoss',
            criterion=dict(type='lightly.loss.NTXentLoss', temperature=0.2),
            projector='projector',
            keys='student',
            symmetric=False,
        ),
    ),
    momentum=0.0,
)
