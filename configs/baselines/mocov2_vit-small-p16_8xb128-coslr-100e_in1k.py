# MoCo v2 with a ViT-S/16, on the views and with the optimiser of MoCo v3.
#
# Command:  bash tools/dist_train.sh configs/baselines/mocov2_vit-small-p16_8xb128-coslr-100e_in1k.py 8
#           (needs `pip install lightly`)
# Hardware: 8 GPUs, as much work as MoCo v3. Not run by us.
# Expected: no figure at hand for a ViT. Lightly's ResNet-50 reaches k-NN 41.8 %, linear 61.5 % after 100 epochs with a
#           batch of 256 (docs.lightly.ai, benchmarks).
#
# As in the paper, view 1 asks and view 2 is the key. The engine runs student and teacher on both all the same;
# symmetric=True would use both ways at no more cost. Images need not be shuffled over GPUs: nothing has a batch norm.
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
                gather_distributed=True,  # without, each GPU has a bank of its own and a checkpoint only the first
            ),
            projector='projector',
            symmetric=False,
        ),
    ),
    momentum=0.999,
)
