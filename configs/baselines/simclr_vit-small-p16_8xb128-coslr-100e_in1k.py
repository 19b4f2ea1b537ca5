# SimCLR with a ViT-S/16. Views and optimiser are those of MoCo v3.
#
# Command:  bash tools/dist_train.sh configs/baselines/simclr_vit-small-p16_8xb128-coslr-100e_in1k.py 8
#           (needs `pip install lightly`)
# Hardware: 8 GPUs; less work than MoCo v3, since no teacher is run. Not run by us.
# Expected: no figure for a ViT is known to us. Lightly's ResNet-50 reaches k-NN 44.8 %, linear 63.2 % after 100 epochs
#           with a batch of 256 (docs.lightly.ai, benchmarks).
#
# Head, temperature and negatives from all GPUs are those of Lightly's benchmark of SimCLR. SimCLR has no teacher:
# momentum 0 makes the "teacher", which is evaluated and exported, equal to the student.
_base_ = './mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.SimCLRProjectionHead', hidden_dim=2048, output_dim=128),
    ),
    losses=dict(
        _delete_=True,
        simclr=dict(
            type='dino_plugin.LightlyPairLoss',
            criterion=dict(type='lightly.loss.NTXentLoss', temperature=0.1, gather_distributed=True),
            projector='projector',
            keys='student',
            symmetric=False,
        ),
    ),
    momentum=0.0,
)
