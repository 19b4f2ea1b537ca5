# BYOL on the quickstart's images, network and schedule.
#
# Command:  python tools/train.py configs/baselines/byol_vit-tiny_1xb64-22e_cifar10-mini.py    (from a checkout)
#           (needs `pip install lightly`)
# Hardware: 2 CPU cores; less work than the quickstart: no local views.
# Expected: not measured. DINO reaches k-NN 49.9 % here (configs/quickstart/). Its settings were tuned on these images;
#           the settings of this file were not.
#
# Lightly's heads, smaller. The teacher's momentum is the quickstart's.
_base_ = './mocov3_vit-tiny_1xb64-22e_cifar10-mini.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.BYOLProjectionHead', hidden_dim=512, output_dim=128),
        predictor=dict(
            type='lightly.models.modules.heads.BYOLPredictionHead', input_dim=128, hidden_dim=512, output_dim=128
        ),
    ),
    losses=dict(
        _delete_=True,
        byol=dict(_base_.model.losses.mocov3, criterion=dict(type='lightly.loss.NegativeCosineSimilarity')),
    ),
)
