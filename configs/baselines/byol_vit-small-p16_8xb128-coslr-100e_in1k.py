# BYOL with a ViT-S/16. Views and optimiser are those of MoCo v3, whose views are BYOL's.
#
# Command:  bash tools/dist_train.sh configs/baselines/byol_vit-small-p16_8xb128-coslr-100e_in1k.py 8
#           (needs `pip install lightly`)
# Hardware: 8 GPUs, as much work as MoCo v3. Not run by us.
# Expected: no figure for a ViT is known to us. Lightly's ResNet-50 reaches k-NN 46.0 %, linear 62.5 % after 100 epochs
#           with a batch of 256 (docs.lightly.ai, benchmarks).
#
# The momentum, 0.99 -> 1, is Lightly's for 100 epochs; the paper's 1,000 epochs start at 0.996. The loss is the paper's
# divided by 4, minus 1. AdamW learns the same with it.
_base_ = './mocov3_vit-small-p16_8xb128-coslr-100e_in1k.py'

model = dict(
    heads=dict(
        _delete_=True,
        projector=dict(type='lightly.models.modules.heads.BYOLProjectionHead', hidden_dim=4096, output_dim=256),
        predictor=dict(
            type='lightly.models.modules.heads.BYOLPredictionHead', input_dim=256, hidden_dim=4096, output_dim=256
        ),
    ),
    losses=dict(
        _delete_=True,
        byol=dict(_base_.model.losses.mocov3, criterion=dict(type='lightly.loss.NegativeCosineSimilarity')),
    ),
)
