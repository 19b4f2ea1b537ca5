# SwAV on the quickstart's images, network, views and schedule.
#
# Command:  python tools/train.py configs/baselines/swav_vit-tiny_1xb64-22e_cifar10-mini.py    (from a checkout)
#           (needs `pip install lightly`)
# Hardware: 2 CPU cores; a little less work than the quickstart, since no teacher is run.
# Expected: not measured. DINO reaches k-NN 49.9 % here (configs/quickstart/). Its settings were tuned on these images;
#           the settings of this file were not.
#
# Lightly's head, smaller, and as many prototypes as the quickstart has. There is no queue, though a batch of 64 is
# small. Momentum 0 makes the "teacher" equal to the student.
_base_ = '../quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.SwaVProjectionHead', hidden_dim=512, output_dim=128),
        prototypes=dict(type='lightly.models.modules.heads.SwaVPrototypes', input_dim=128, n_prototypes=512),
    ),
    losses=dict(
        _delete_=True,
        swav=dict(
            type='dino_plugin.LightlySwAVLoss',
            criterion=dict(type='lightly.loss.SwaVLoss'),
            projector='projector',
            prototypes='prototypes',
        ),
    ),
    momentum=0.0,
)
