# MoCo v2 with a ViT-S/16. Views and optimiser are those of MoCo v3.
#
# Command:  bash tools/dist_train.sh configs/baselines/mocov2_vit-small-p16_8xb128-coslr-100e_in1k.py 8
#           (needs `pip install lightly`)
# Hardware: 8 GPUs, as much work as MoCo v3. Not run by us.
# Expected: no figure for a ViT is known to us. Lightly's ResNet-50 reaches k-NN 41.8 %, linear 61.5 % after 100 epochs
#           with a batch of 256 (docs.lightly.ai, benchmarks).
#
# As in the paper, view 1 is the query and view 2 the key. The engine runs student and teacher on both views anyway, so
# symmetric=True would cost no more. Images need not be shuffled over GPUs, since nothing has a batch norm.
_base_ = './mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.MoCoProjectionHead', hidden_dim=2048, output_dim=128),
    ),
    losses=dict(
        _delete_=True,
        mocov2=dict(
            type='dino_plugin.LightlyPairLoss',
            criterion=dict(
                type='lightly.loss.NTXentLoss',
                temperature=0.2,
                memory_bank_size=(65536, 128),
                gather_distributed=True,  # without it, each GPU has its own queue; a checkpoint holds the first
            ),
            projector='projector',
            symmetric=False,
        ),
    ),
    momentum=0.999,
)
